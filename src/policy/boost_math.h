#pragma once

#include <boost/math/policies/policy.hpp>

namespace offramp::detail {

/// How Boost.Math answers for us: in double on every machine, computed in long double, whatever a
/// program that embeds the library has set; and never by an exception of its own. What is outside
/// a function's domain gives NaN; callers check their arguments first.
using MathPolicy = boost::math::policies::policy<
    boost::math::policies::domain_error<boost::math::policies::ignore_error>,
    boost::math::policies::pole_error<boost::math::policies::ignore_error>,
    boost::math::policies::overflow_error<boost::math::policies::ignore_error>,
    boost::math::policies::underflow_error<boost::math::policies::ignore_error>,
    boost::math::policies::denorm_error<boost::math::policies::ignore_error>,
    boost::math::policies::rounding_error<boost::math::policies::ignore_error>,
    boost::math::policies::evaluation_error<boost::math::policies::ignore_error>,
    boost::math::policies::indeterminate_result_error<boost::math::policies::ignore_error>,
    boost::math::policies::promote_double<true>>;

}  // namespace offramp::detail
