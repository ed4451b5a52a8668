#include "images.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>

#include "arrays.h"
#include "core/error.h"
#include "nanobind/stl/string.h"

namespace offramp::python {
namespace {

using AnyArray = nb::ndarray<nb::ro>;

constexpr float kLargestNormalised = 32;  // pixels divided by a deviation of 1/32 of their range

std::string name_of_type(nb::handle object) {
  return nb::cast<std::string>(nb::str(object.type().attr("__name__")));
}

/// Returns how an object describes itself as an array: "Tensor of torch.bfloat16 [3, 32, 32] on
/// cuda:0".
std::string describe_array(nb::handle object) {
  std::string text = name_of_type(object);
  const auto add = [&](const char* before, const char* name) {
    if (!nb::hasattr(object, name)) return;
    const nb::object value = object.attr(name);
    text += before + nb::cast<std::string>(nb::steal(PyObject_Str(value.ptr())));
  };
  add(" of ", "dtype");
  add(" ", "shape");
  add(" on ", "device");
  return text;
}

class Reader {
 public:
  Reader(const Model& model, Images& images) : model_(model), images_(images) {}

  /// Appends one image, or those of an array of many. @return whether it was one
  bool add(nb::handle object, const std::string& place) {
    if (is_path(object)) {
      images_.views.push_back(ImageView::file(to_path(object)));
      return true;
    }
    if (nb::isinstance<nb::bytes>(object) || PyByteArray_Check(object.ptr()) ||
        PyMemoryView_Check(object.ptr())) {
      add_encoded(object, place);
      return true;
    }
    nb::object kept = nb::borrow(object);
    if (is_pil(object))
      kept = nb::module_::import_("offramp._pil").attr("pixels")(object);
    else if (nb::getattr(object, "requires_grad", nb::bool_(false)).is(nb::bool_(true)))
      // Torch gives no access to the memory of a tensor that requires gradients.
      kept = object.attr("detach")();
    if (nb::ndarray_check(kept)) return add_array(kept, place);
    throw nb::type_error(
        fmt::format(
            "{}: {} is no image: pass a path, the bytes of a JPEG, PNG, WebP or BMP file, a uint8 "
            "array [height, width, 3], a PIL image, or a list of these",
            place, name_of_type(object))
            .c_str());
  }

 private:
  static bool is_pil(nb::handle object) {
    const nb::object module = nb::getattr(object.type(), "__module__", nb::str(""));
    return nb::isinstance<nb::str>(module) && nb::cast<std::string>(module).starts_with("PIL.");
  }

  void add_encoded(nb::handle object, const std::string& place) {
    if (nb::isinstance<nb::bytes>(object)) {
      const nb::bytes bytes = nb::borrow<nb::bytes>(object);
      images_.views.push_back(
          ImageView::encoded({static_cast<const std::byte*>(bytes.data()), bytes.size()}));
      images_.bytes.push_back(bytes);
      return;
    }
    // A bytearray can be resized while the network runs.
    const nb::object bytes = nb::steal(PyBytes_FromObject(object.ptr()));
    if (!bytes.is_valid()) {
      PyErr_Clear();
      throw UsageError(fmt::format("{}: the memory of this {} cannot be read as bytes", place,
                                   name_of_type(object)));
    }
    add_encoded(bytes, place);
  }

  bool add_array(const nb::object& object, const std::string& place) {
    AnyArray array;
    if (!nb::try_cast(object, array, false)) refuse(object, place);
    if (array.device_type() != nb::device::cpu::value)
      throw UsageError(fmt::format("{}: {} is not in the memory of the CPU: pass x.cpu()", place,
                                   describe_array(object)));
    if (array.dtype() == nb::dtype<std::uint8_t>()) return add_pixels(array, place);
    if (array.dtype() == nb::dtype<float>()) return add_input(array, place);
    throw UsageError(fmt::format(
        "{}: {}: expected uint8 pixels of 0 to 255, or the network's normalised input as float32",
        place, describe_array(object)));
  }

  [[noreturn]] void refuse(const nb::object& object, const std::string& place) const {
    throw UsageError(
        fmt::format("{}: {} cannot be read: expected a uint8 or float32 array in the memory of "
                    "the CPU",
                    place, describe_array(object)));
  }

  bool add_pixels(const AnyArray& array, const std::string& place) {
    const std::size_t d = array.ndim();
    if ((d != 3 && d != 4) || array.shape(d - 1) != 3) {
      const char* hint = "";
      if (d == 3 && array.shape(0) == 3)
        hint =
            ": the channels come first; pass x.transpose(1, 2, 0), of a tensor x.permute(1, 2, 0)";
      else if (d == 4 && array.shape(1) == 3)
        hint =
            ": the channels come first; pass x.transpose(0, 2, 3, 1), of a tensor "
            "x.permute(0, 2, 3, 1)";
      else if (d == 2)
        hint =
            ": repeat a grey image three times, for example with numpy.stack([x, x, x], axis=-1)";
      else if ((d == 3 || d == 4) && array.shape(d - 1) == 1)
        hint =
            ": repeat the grey channel three times, for example with numpy.repeat(x, 3, axis=-1)";
      else if ((d == 3 || d == 4) && array.shape(d - 1) == 4)
        hint = ": for red, green, blue and transparency, pass x[..., :3]";
      throw UsageError(
          fmt::format("{}: uint8 array of shape {}: expected [height, width, 3] or [N, height, "
                      "width, 3]{}",
                      place, shape_text(array), hint));
    }
    const auto height = static_cast<int>(std::min<std::size_t>(array.shape(d - 3), 1u << 30));
    const auto width = static_cast<int>(std::min<std::size_t>(array.shape(d - 2), 1u << 30));
    each_image<std::uint8_t>(array, [&](std::span<const std::uint8_t> pixels) {
      images_.views.push_back(ImageView::rgb8(pixels, width, height));
    });
    return d == 3;
  }

  bool add_input(const AnyArray& array, const std::string& place) {
    const std::size_t d = array.ndim();
    const auto channels = static_cast<std::size_t>(model_.channels());
    const auto height = static_cast<std::size_t>(model_.height());
    const auto width = static_cast<std::size_t>(model_.width());
    if ((d != 3 && d != 4) || array.shape(d - 3) != channels || array.shape(d - 2) != height ||
        array.shape(d - 1) != width) {
      const bool channels_last = (d == 3 || d == 4) && array.shape(d - 1) == channels;
      throw UsageError(fmt::format(
          "{}: float32 array of shape {}: the network's own input is [{}, {}, {}], or [N, {}, {}, "
          "{}]{}",
          place, shape_text(array), channels, height, width, channels, height, width,
          channels_last ? ", channels first; pass pixels as uint8, from values of 0 to 1 by (255 * "
                          "x).round().astype(\"uint8\"), of a tensor (255 * x).round().byte()"
                        : ""));
    }
    each_image<float>(array, [&](std::span<const float> values) {
      float most = 0;
      for (const float value : values) {
        if (value <
            0) {  // pixels are never negative, and most normalised images have such a value early
          most = 0;
          break;
        }
        most = std::max(most, value);
      }
      if (most > kLargestNormalised)
        throw UsageError(fmt::format(
            "{}: float32 values from 0 to {}: these look like pixels, but float32 is taken for the "
            "normalised input of the network; pass pixels as uint8",
            place, most));
      images_.views.push_back(ImageView::normalised(values));
    });
    return d == 3;
  }

  /// Calls `use` with the values of each image, where they are if they have no gaps.
  template <typename T>
  void each_image(const AnyArray& array, const auto& use) {
    const std::size_t d = array.ndim();
    const std::size_t a = array.shape(d - 3), b = array.shape(d - 2), c = array.shape(d - 1);
    const std::size_t count = d == 4 ? array.shape(0) : 1;
    const std::int64_t over_images = d == 4 ? array.stride(0) : 0;
    const std::int64_t sa = array.stride(d - 3), sb = array.stride(d - 2), sc = array.stride(d - 1);
    const auto fits = [](std::size_t size, std::int64_t stride, std::size_t expected) {
      return size <= 1 || stride == static_cast<std::int64_t>(expected);
    };
    const bool whole = fits(c, sc, 1) && fits(b, sb, c) && fits(a, sa, b * c);
    const T* const data = reinterpret_cast<const T*>(
        static_cast<const std::byte*>(array.data_handle()) + array.byte_offset());
    if (whole) images_.arrays.push_back(array);
    for (std::size_t n = 0; n < count; ++n) {
      const T* const first = data + static_cast<std::int64_t>(n) * over_images;
      if (whole) {
        use(std::span(first, a * b * c));
        continue;
      }
      std::vector<std::byte>& copy = images_.copies.emplace_back(a * b * c * sizeof(T));
      T* out = reinterpret_cast<T*>(copy.data());
      for (std::size_t i = 0; i < a; ++i)
        for (std::size_t j = 0; j < b; ++j)
          for (std::size_t k = 0; k < c; ++k)
            *out++ = first[static_cast<std::int64_t>(i) * sa + static_cast<std::int64_t>(j) * sb +
                           static_cast<std::int64_t>(k) * sc];
      use(std::span<const T>(reinterpret_cast<const T*>(copy.data()), a * b * c));
    }
  }

  const Model& model_;
  Images& images_;
};

}  // namespace

bool is_path(nb::handle object) {
  return nb::isinstance<nb::str>(object) || nb::hasattr(object, "__fspath__");
}

std::filesystem::path to_path(nb::handle object) {
  PyObject* encoded = nullptr;
  if (PyUnicode_FSConverter(object.ptr(), &encoded) == 0) throw nb::python_error();
  const nb::bytes bytes = nb::steal<nb::bytes>(encoded);
  return std::string(bytes.c_str(), bytes.size());
}

namespace {

/// Raises FileNotFoundError, PermissionError, … @param hint  what to do, after the system's text
[[noreturn]] void raise_os_error(int number, const std::string& path, const std::string& hint) {
  const std::string text = std::strerror(number) + hint;
  const nb::object error =
      nb::handle(PyExc_OSError)(number, text, std::filesystem::path(path).string());
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(error.ptr())), error.ptr());
  throw nb::python_error();
}

/// 0 if the file can be opened, else the number of the error.
int error_of_opening(const std::string& path) {
  errno = 0;
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) return EISDIR;
  if (std::ifstream(path).good()) return 0;
  return errno == 0 ? EIO : errno;
}

}  // namespace

void check_readable(const std::string& path) {
  if (const int number = error_of_opening(path); number != 0) raise_os_error(number, path, "");
}

void check_image_readable(const std::string& path) {
  const int number = error_of_opening(path);
  if (number == 0) return;
  std::string hint;
  if (number == EISDIR)
    hint = "; pass a list of its files: sorted(pathlib.Path(folder).rglob(\"*.jpg\"))";
  else if (number == ENOENT && path.find_first_of("*?[") != path.npos)
    hint = "; patterns are not expanded, pass a list of files: sorted(glob.glob(pattern))";
  raise_os_error(number, path, hint);
}

Images to_images(nb::handle object, const Model& model, const std::string& place) {
  Images images;
  Reader reader(model, images);
  const bool is_list = nb::isinstance<nb::list>(object) || nb::isinstance<nb::tuple>(object);
  const bool is_collection =
      is_list || (!is_path(object) && !nb::isinstance<nb::bytes>(object) &&
                  !nb::ndarray_check(object) && nb::hasattr(object, "__len__") &&
                  nb::hasattr(object, "__iter__") && !nb::isinstance<nb::dict>(object));
  if (!is_collection) {
    images.single = reader.add(object, place);
    return images;
  }
  std::size_t i = 0;
  for (const nb::handle item : nb::iter(object)) {
    const std::string item_place = fmt::format("images[{}]", i++);
    if (!reader.add(item, item_place))
      throw UsageError(
          fmt::format("{}: an array of several images inside a list: join the arrays with "
                      "numpy.concatenate, or pass one image an item",
                      item_place));
  }
  return images;
}

}  // namespace offramp::python
