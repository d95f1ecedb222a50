#include "model/keyed_dropout.h"

#include <ATen/Parallel.h>
#include <gmock/gmock.h>

#include <cmath>
#include <utility>

#include "base/philox.h"
#include "model/model_test_tools.h"

namespace bertdist {
namespace {

constexpr Dropout dropout{0x123456789ABCDEF0, 17};
constexpr DropoutSite site = DropoutSite::output(3);

at::Tensor mask_of(std::int64_t num_elements, double p, const Dropout& key, DropoutSite where, std::int64_t row) {
  return keyed_dropout(at::ones({num_elements}), p, key, where, std::vector{row});
}

TEST(KeyedDropoutTest, FollowsTheDocumentedMapping) {
  const double p = 0.3;
  const std::int64_t row = 0x700000005;
  const PhiloxCounter key = philox4x32({5, 7, 17, 0}, {0x9ABCDEF0, 0x12345678});
  for (const std::int64_t num_elements : {1, 15, 64, 65, 1000}) {
    const at::Tensor mask = mask_of(num_elements, p, dropout, site, row);
    for (std::int64_t element = 0; element < num_elements; ++element) {
      const auto block = static_cast<std::uint32_t>(element / 64 * 16 + element % 16);
      const std::uint32_t word = philox4x32({block, 0, site.id, 0}, {key[0], key[1]})[element / 16 % 4];
      const float expected = word < p * 0x1p32 ? 0.0f : static_cast<float>(1 / (1 - p));
      ASSERT_EQ(mask[element].item<float>(), expected) << element;
    }
  }
}

TEST(KeyedDropoutTest, ARowsMaskDoesNotDependOnItsBatch) {
  const at::Tensor x = at::ones({7, 33});  // rows of 2, 1 and 4 tokens
  const at::Tensor together = keyed_dropout(x, 0.5, dropout, site, std::vector<std::int64_t>{8, 3, 1000},
                                            std::vector<std::int64_t>{0, 66, 99, 231});
  EXPECT_TRUE(at::equal(together.slice(0, 0, 2).flatten(), mask_of(66, 0.5, dropout, site, 8)));
  EXPECT_TRUE(at::equal(together.slice(0, 2, 3).flatten(), mask_of(33, 0.5, dropout, site, 3)));
  EXPECT_TRUE(at::equal(together.slice(0, 3, 7).flatten(), mask_of(132, 0.5, dropout, site, 1000)));
}

TEST(KeyedMaskTest, HasAnyPartOfARowsMask) {
  const KeyedMask mask(0.4, dropout, site);
  const at::Tensor whole = mask_of(1000, 0.4, dropout, site, 9);
  for (const auto& [first, count] : {std::pair{0, 1000}, {1, 3}, {63, 2}, {64, 64}, {130, 700}}) {
    std::vector<float> part(static_cast<std::size_t>(count) + 1, 7.0f);
    mask.fill(part.data(), 9, first, count);
    EXPECT_EQ(part.back(), 7.0f) << "written past the end";
    for (int i = 0; i < count; ++i)
      ASSERT_EQ(part[static_cast<std::size_t>(i)], whole[first + i].item<float>()) << first << " + " << i;
  }
  EXPECT_EQ(mask.keep_factor(), static_cast<float>(1 / 0.6));
}

TEST(KeyedDropoutTest, DoesNotDependOnTheNumberOfThreads) {
  std::vector<std::int64_t> rows(40);
  std::iota(rows.begin(), rows.end(), 0);
  const at::Tensor x = at::ones({40, 100});
  at::set_num_threads(1);
  const at::Tensor one = keyed_dropout(x, 0.1, dropout, site, rows);
  at::set_num_threads(4);
  EXPECT_TRUE(at::equal(one, keyed_dropout(x, 0.1, dropout, site, rows)));
}

// Two masks with different keys agree at each element with probability p^2 + (1-p)^2; 6 standard deviations.
void expect_independent(const at::Tensor& a, const at::Tensor& b, double p) {
  const double n = static_cast<double>(a.numel());
  const double expected = p * p + (1 - p) * (1 - p);
  const double agreeing = at::eq(a, b).sum().item<double>() / n;
  EXPECT_NEAR(agreeing, expected, 6 * std::sqrt(expected * (1 - expected) / n));
}

TEST(KeyedDropoutTest, MasksDifferBySeedStepRowSiteAndPosition) {
  const std::int64_t n = 100'000;
  const double p = 0.5;
  const at::Tensor base = mask_of(n, p, dropout, site, 1);
  expect_independent(base, mask_of(n, p, {dropout.seed + 1, dropout.step}, site, 1), p);
  expect_independent(base, mask_of(n, p, {dropout.seed, dropout.step + 1}, site, 1), p);
  expect_independent(base, mask_of(n, p, dropout, site, 2), p);
  expect_independent(base, mask_of(n, p, dropout, DropoutSite::output(4), 1), p);
  expect_independent(base, mask_of(n, p, dropout, DropoutSite::attention_output(3), 1), p);
  expect_independent(base, mask_of(n, p, dropout, DropoutSite::classifier(), 1), p);
  for (const std::int64_t shift : {1, 16, 64, 384}) {
    expect_independent(base.narrow(0, 0, n - shift), base.narrow(0, shift, n - shift), p);
  }
}

TEST(KeyedDropoutTest, DropsAtTheRateAndKeepsTheMean) {
  const std::int64_t n = 1'000'000;
  for (const double p : {0.1, 0.5, 0.9}) {
    const at::Tensor mask = mask_of(n, p, dropout, site, 1);
    const double rate = at::eq(mask, 0).sum().item<double>() / n;
    EXPECT_NEAR(rate, p, 5 * std::sqrt(p * (1 - p) / n));
    EXPECT_NEAR(mask.max().item<double>(), 1 / (1 - p), 1e-6);
  }
  const at::Tensor x = at::ones({n});
  EXPECT_TRUE(keyed_dropout(x, 0.0, dropout, site, std::vector<std::int64_t>{1}).is_same(x));
}

TEST(KeyedDropoutTest, GradientsPassThroughTheSameMask) {
  at::Tensor x = at::rand({2, 50}).set_requires_grad(true);
  const at::Tensor y = keyed_dropout(x, 0.5, dropout, site, std::vector<std::int64_t>{1, 2});
  y.sum().backward();
  EXPECT_TRUE(at::equal(x.grad() * x, y));
}

// What devices other than the CPU do, on the CPU.
TEST(KeyedDropoutTest, OperatorsGiveTheSameBits) {
  at::manual_seed(3);
  const std::vector<std::int64_t> rows = {8, 0x700000005, 3};
  for (const std::vector<std::int64_t>& offsets :
       {std::vector<std::int64_t>{0, 128, 192, 1024}, {0, 66, 99, 231}, {0, 0, 64, 65}}) {
    for (const double p : {0.0, 0.1, 0.9}) {
      at::Tensor x = at::randn({offsets.back()}).set_requires_grad(true);
      at::Tensor y = x.detach().clone().set_requires_grad(true);
      const at::Tensor fast = keyed_dropout(x, p, dropout, site, rows, offsets);
      const at::Tensor general = keyed_dropout_by_operators(y, p, dropout, site, rows, offsets);
      EXPECT_TRUE(at::equal(fast, general)) << p;
      fast.pow(2).sum().backward();
      general.pow(2).sum().backward();
      EXPECT_TRUE(at::equal(x.grad(), y.grad())) << p;
    }
  }
  const at::Tensor none = at::ones({0, 5});
  EXPECT_EQ(keyed_dropout_by_operators(none, 0.5, dropout, site, {}, std::vector<std::int64_t>{0}).numel(), 0);
  const at::Tensor half = at::randn({3, 64}).to(at::kBFloat16);
  const std::vector<std::int64_t> ends = {0, 64, 128, 192};
  const at::Tensor general = keyed_dropout_by_operators(half, 0.1, dropout, site, rows, ends);
  EXPECT_EQ(general.scalar_type(), at::kBFloat16);
  EXPECT_TRUE(at::equal(general, keyed_dropout(half.to(at::kFloat), 0.1, dropout, site, rows, ends).to(at::kBFloat16)));
}

TEST(KeyedDropoutTest, RefusesRowsThatDoNotFit) {
  const at::Tensor x = at::ones({3, 4});
  const auto with = [&](std::vector<std::int64_t> offsets) {
    return error_of([&] { keyed_dropout(x, 0.5, dropout, site, std::vector<std::int64_t>{1, 2}, offsets); }).code();
  };
  EXPECT_EQ(with({0, 12}), ExitCode::internal);
  EXPECT_EQ(with({0, 4, 8}), ExitCode::internal);
  EXPECT_EQ(with({4, 8, 12}), ExitCode::internal);
}

}  // namespace
}  // namespace bertdist
