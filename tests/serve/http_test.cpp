#include "serve/http.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "serve/json_text.h"
#include "serve/multipart.h"

namespace offramp::serve {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;
using testing::ThrowsMessage;

TEST(Target, IsDecodedPartByPart) {
  const Target target = parse_target("/v2/models/a%2Fb?top_k=3&x=a+b%21");
  EXPECT_THAT(target.path, ElementsAre("v2", "models", "a/b"));
  EXPECT_THAT(target.query, ElementsAre(Pair("top_k", "3"), Pair("x", "a b!")));
  EXPECT_THAT(parse_target("/").path, IsEmpty());
}

TEST(Target, RefusesEscapesAndTextThatAreNotValid) {
  for (const char* bad : {"/a%", "/a%4", "/a%zz", "/%ff", "/%c0%af", "v2", ""})
    EXPECT_THROW(parse_target(bad), HttpError) << bad;
}

TEST(LoopbackHost, IsThisMachineUnderANameThatNoNameServerGives) {
  for (const char* good : {"localhost", "LocalHost:8000", "127.0.0.1", "127.1.2.3:80", "[::1]",
                           "[::1]:8000", "localhost:"})
    EXPECT_TRUE(is_loopback_host(good)) << good;
  for (const char* bad : {"", "evil.example", "evil.example:8000", "127.0.0.1.evil.example",
                          "localhost.evil.example", "127.evil", "127.0.0.1:80:80", "127.0.0.1:x",
                          "[::1].evil.example", "[::2]", "[::1", "128.0.0.1", "0.0.0.0"})
    EXPECT_FALSE(is_loopback_host(bad)) << bad;
}

TEST(EntityTag, IsFoundInAListAndWhenItIsWeak) {
  for (const char* good : {R"("a")", R"(W/"a")", R"("b", "a")", R"("b",W/"a" )", "*"})
    EXPECT_TRUE(has_tag(good, R"("a")")) << good;
  for (const char* bad : {"", "a", R"("b")", R"("ab")", R"(w/"a")", ",,"})
    EXPECT_FALSE(has_tag(bad, R"("a")")) << bad;
}

TEST(HttpDate, IsThatOfTheSpecification) {
  EXPECT_EQ(http_date(784111777), "Sun, 06 Nov 1994 08:49:37 GMT");
}

TEST(RequestJson, RefusesWhatIsNestedTooDeepOrGivenTwice) {
  EXPECT_THAT([] { parse_request_json("{\"a\":" + std::string(100000, '['), nullptr); },
              ThrowsMessage<HttpError>("request: JSON is nested deeper than 16"));
  EXPECT_THAT([] { parse_request_json(R"({"a":1,"a":2})", nullptr); },
              ThrowsMessage<HttpError>("request: the key \"a\" is given twice"));
  EXPECT_THROW(parse_request_json("[]", nullptr), HttpError);
  EXPECT_THROW(parse_request_json("{\"a\":\"\xff\"}", nullptr), HttpError);
  EXPECT_NO_THROW(parse_request_json(R"({"a":{"b":1},"b":1})", nullptr));
}

TEST(ErrorResponse, IsJsonWhateverTheMessageHolds) {
  const Response response = error_response(503, "a \"b\" \xff");
  EXPECT_TRUE(Json::accept(response.body));
  EXPECT_THAT(response.headers, ElementsAre(Pair("Retry-After", "1")));
}

TEST(Multipart, GivesPartsWithNamesAndContent) {
  const std::string body =
      "--X\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a;b.png\"\r\n"
      "Content-Type: image/png\r\n\r\nab\r\n--Y\r\n"
      "\r\n--X\r\ncontent-disposition: form-data; name=top_k\r\n\r\n3\r\n--X--\r\n";
  const auto parts = parse_multipart("multipart/form-data; boundary=X", body, 10);
  ASSERT_EQ(parts.size(), 2u);
  EXPECT_EQ(parts[0].name, "image");
  EXPECT_EQ(parts[0].file_name, "a;b.png");
  EXPECT_EQ(parts[0].content, "ab\r\n--Y\r\n");
  EXPECT_EQ(parts[1].name, "top_k");
  EXPECT_EQ(parts[1].content, "3");
}

TEST(Multipart, RefusesEveryBodyThatIsCutShort) {
  const std::string body =
      "--X\r\nContent-Disposition: form-data; name=\"image\"\r\n\r\nab\r\n--X--";
  EXPECT_EQ(parse_multipart("multipart/form-data; boundary=X", body, 10).size(), 1u);
  for (std::size_t size = 0; size < body.size(); ++size)
    EXPECT_THROW(parse_multipart("multipart/form-data; boundary=X", body.substr(0, size), 10),
                 HttpError)
        << size;
  EXPECT_THROW(parse_multipart("multipart/form-data", body, 10), HttpError);
  EXPECT_THROW(parse_multipart("multipart/form-data; boundary=X", body, 0), HttpError);
}

TEST(Budget, CountsABodyUntilItIsDestroyed) {
  const auto budget = std::make_shared<Budget>(10000);
  {
    Body body;
    body.use(budget);
    const std::string some(4000, 'a');
    EXPECT_TRUE(body.append(some.data(), some.size()));
    EXPECT_GE(budget->used(), 4000u);
    const Body moved = std::move(body);
    Body other;
    other.use(budget);
    EXPECT_FALSE(other.append(std::string(9000, 'b').data(), 9000));
    EXPECT_EQ(moved.text(), some);
  }
  EXPECT_EQ(budget->used(), 0u);
}

}  // namespace
}  // namespace offramp::serve
