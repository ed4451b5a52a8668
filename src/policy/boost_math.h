#pragma once

#include <boost/math/policies/policy.hpp>

namespace offramp::policy::detail {

/// The Boost.Math policy that this library uses. Results are double, computed in long double, on
/// every machine and whatever defaults the embedding program sets. Boost.Math throws no exception:
/// an argument outside a function's domain gives NaN, so callers check their arguments first.
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

}  // namespace offramp::policy::detail
