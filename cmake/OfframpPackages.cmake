# Debian packages: cpack -G DEB --config build/release/CPackConfig.cmake -B build/deb
# writes offramp (the program, the shared library and its headers) and offramp-train, which alone
# depends on LibTorch. They are for the release of Debian that they are built on.
# .ci/try-package installs the first into an empty system and uses it.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_VENDOR "The offramp authors")
set(CPACK_PACKAGE_CONTACT "The offramp authors <offramp@localhost>")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_VERBATIM_VARIABLES ON)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_ALL program library)
if(OFFRAMP_TRAIN)
  list(APPEND CPACK_COMPONENTS_ALL training)
endif()
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
# 0.1.0-1~deb12 before 0.1.0-1~deb13: an upgrade of the system upgrades the package.
cmake_host_system_information(RESULT system QUERY DISTRIB_ID DISTRIB_VERSION_ID)
list(JOIN system "" system)
string(REPLACE "debian" "deb" system "${system}")
set(CPACK_DEBIAN_PACKAGE_RELEASE "1~${system}")
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_OFFRAMP_PACKAGE_NAME offramp)
set(CPACK_DEBIAN_TRAINING_PACKAGE_NAME offramp-train)
set(CPACK_DEBIAN_TRAINING_PACKAGE_DEPENDS
    "offramp (= ${PROJECT_VERSION}-${CPACK_DEBIAN_PACKAGE_RELEASE})")
include(CPack)
cpack_add_component_group(offramp
  DESCRIPTION "${PROJECT_DESCRIPTION}\nThe program offramp, the library libofframp and its headers.")
cpack_add_component(program GROUP offramp)
cpack_add_component(library GROUP offramp)
cpack_add_component(training
  DESCRIPTION "Training for offramp\nThe program offramp-train, which offramp train starts.")
# Debian wants the licence of each package there.
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION share/doc/offramp RENAME copyright
        COMPONENT library)
if(OFFRAMP_TRAIN)
  install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION share/doc/offramp-train RENAME copyright
          COMPONENT training)
endif()
