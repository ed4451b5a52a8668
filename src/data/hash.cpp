#include <openssl/evp.h>

#include <array>
#include <memory>

#include "core/error.h"
#include "data/dataset.h"
#include "data/sources.h"

namespace offramp::data {
namespace {

// The algorithm is fetched once, because fetching it takes longer than hashing a small image.
const EVP_MD* sha256() {
  static EVP_MD* const algorithm = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  if (algorithm == nullptr) throw Error("SHA-256 is not available in OpenSSL");
  return algorithm;
}

class Sha256 {
 public:
  Sha256() {
    if (context_ == nullptr || EVP_DigestInit_ex2(context_.get(), sha256(), nullptr) != 1) {
      throw Error("OpenSSL cannot compute SHA-256");
    }
  }
  void add(const void* data, std::size_t size) {
    if (EVP_DigestUpdate(context_.get(), data, size) != 1) {
      throw Error("OpenSSL cannot compute SHA-256");
    }
  }
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest() {
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    if (EVP_DigestFinal_ex(context_.get(), digest.data(), nullptr) != 1) {
      throw Error("OpenSSL cannot compute SHA-256");
    }
    return digest;
  }
  std::uint64_t first_64_bits() {
    const auto digest = this->digest();
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < 8; ++i) value = value << 8 | digest[i];
    return value;
  }

 private:
  struct Free {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };
  std::unique_ptr<EVP_MD_CTX, Free> context_{EVP_MD_CTX_new()};
};

}  // namespace

std::uint64_t image_hash(int width, int height, std::span<const std::uint8_t> rgb) {
  std::array<unsigned char, 8> size{};
  for (unsigned i = 0; i < 4; ++i) {
    size[i] = static_cast<unsigned char>(static_cast<std::uint32_t>(width) >> (8 * i));
    size[i + 4] = static_cast<unsigned char>(static_cast<std::uint32_t>(height) >> (8 * i));
  }
  Sha256 hash;
  hash.add(size.data(), size.size());
  hash.add(rgb.data(), rgb.size());
  return hash.first_64_bits();
}

std::string detail::sha256_hex(std::span<const std::byte> bytes) {
  constexpr std::size_t kDigestBytes = 32;
  Sha256 hash;
  hash.add(bytes.data(), bytes.size());
  const auto digest = hash.digest();
  std::string text;
  for (std::size_t i = 0; i < kDigestBytes; ++i) text += fmt::format("{:02x}", digest[i]);
  return text;
}

}  // namespace offramp::data
