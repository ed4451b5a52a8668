#include "data/partial_download.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include "core/error.h"
#include "core/file.h"

namespace offramp::data::detail {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kChunk = std::size_t{1} << 20;

[[noreturn]] void fail(const fs::path& path, std::string_view what) {
  throw Error(fmt::format("{}: {}: {}", path.string(), what, std::strerror(errno)));
}

}  // namespace

struct Md5::Impl {
  using Context = std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)>;
  Context context{EVP_MD_CTX_new(), EVP_MD_CTX_free};
};

Md5::Md5() : impl_(std::make_unique<Impl>()) {
  if (!impl_->context || EVP_DigestInit_ex(impl_->context.get(), EVP_md5(), nullptr) != 1) {
    throw Error("OpenSSL cannot compute MD5");
  }
}

Md5::~Md5() = default;

void Md5::add(std::span<const std::byte> bytes) {
  if (EVP_DigestUpdate(impl_->context.get(), bytes.data(), bytes.size()) != 1) {
    throw Error("OpenSSL cannot compute MD5");
  }
}

std::string Md5::hex() const {
  const Impl::Context copy{EVP_MD_CTX_new(), EVP_MD_CTX_free};
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  if (!copy || EVP_MD_CTX_copy_ex(copy.get(), impl_->context.get()) != 1 ||
      EVP_DigestFinal_ex(copy.get(), digest.data(), &size) != 1) {
    throw Error("OpenSSL cannot compute MD5");
  }
  std::string text;
  for (unsigned i = 0; i < size; ++i) text += fmt::format("{:02x}", digest[i]);
  return text;
}

std::string md5_of_file(const fs::path& path) {
  const core::MappedFile file(path);
  Md5 md5;
  md5.add(file.bytes());
  return md5.hex();
}

PartialDownload::PartialDownload(const fs::path& target)
    : target_(target), path_(target.string() + ".part"), md5_(std::make_unique<Md5>()) {
  // In a folder that others may write to, a link could lead to any file of this user.
  fd_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (fd_ < 0 && errno == ELOOP)
    throw Error(
        fmt::format("{}: cannot open: a symbolic link; remove it and try again", path_.string()));
  if (fd_ < 0) fail(path_, "cannot open");
  try {
    if (::flock(fd_, LOCK_EX | LOCK_NB) != 0) {
      if (errno == EWOULDBLOCK) {
        throw Error(fmt::format("{}: another download is writing this file", path_.string()));
      }
      fail(path_, "cannot lock");
    }
    std::vector<std::byte> chunk(kChunk);
    for (;;) {
      const ssize_t got = ::read(fd_, chunk.data(), chunk.size());
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) fail(path_, "cannot read");
      if (got == 0) break;
      md5_->add(std::span(chunk).first(static_cast<std::size_t>(got)));
      size_ += got;
    }
  } catch (...) {
    ::close(fd_);
    throw;
  }
}

PartialDownload::~PartialDownload() {
  if (size_ == 0) remove();
  ::close(fd_);
}

void PartialDownload::append(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(fd_, bytes.data(), bytes.size(), size_);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail(path_, "cannot write");
    const auto done = static_cast<std::size_t>(written);
    md5_->add(bytes.first(done));
    size_ += written;
    bytes = bytes.subspan(done);
  }
}

void PartialDownload::clear() {
  if (::ftruncate(fd_, 0) != 0) fail(path_, "cannot write");
  size_ = 0;
  md5_ = std::make_unique<Md5>();
}

void PartialDownload::remove() {
  std::error_code ignored;
  fs::remove(path_, ignored);
}

void PartialDownload::publish() {
  if (::fsync(fd_) != 0) fail(path_, "cannot write");
  if (::rename(path_.c_str(), target_.c_str()) != 0) fail(target_, "cannot write");
  core::flush_folder_of(target_);
}

}  // namespace offramp::data::detail
