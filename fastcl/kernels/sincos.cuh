// Sine and cosine of a phase. Twin of sincos.py.
//
// float32: phases are in radians, because the special-function unit takes radians, which it
// multiplies by 1 / (2 pi) in float32. A turn is TURN_FLOAT, the float32 number nearest to 2 pi:
// one fused multiply-add subtracts a multiple of it exactly. The host divides by 2 pi in float64.
// float64: phases are in turns, as in the Numba kernels.
#pragma once
#include "common.cuh"

template <typename T> struct Turn; // a whole turn in the unit of the phases
template <> struct Turn<float> {
    static constexpr float value = TURN_FLOAT, inverse = 0.15915494f;
};
template <> struct Turn<double> {
    static constexpr double value = 1.0, inverse = 1.0;
};

#ifdef __CUDACC_RTC__
// By the special-function unit: for |radians| <= pi, the error is at most 2^-20.9.
__device__ __forceinline__ float unit_sine(float radians) {
    float result;
    asm("sin.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(radians));
    return result;
}
__device__ __forceinline__ float unit_cosine(float radians) {
    float result;
    asm("cos.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(radians));
    return result;
}
#else
inline float unit_sine(float radians) { return std::sin(radians); }
inline float unit_cosine(float radians) { return std::cos(radians); }
#endif

// The phase minus its whole turns, |result| <= half a turn. Adding the constant rounds to integers.
__device__ __forceinline__ float whole_turns_off(float phase) {
    const float rounder = 12582912.0f; // 1.5 * 2^23
    float turns = fmaf(phase, Turn<float>::inverse, rounder) - rounder;
    return fmaf(turns, -Turn<float>::value, phase);
}

// The phase minus its half turns, |result| <= a quarter of a turn. If their number is odd, sine and
// cosine change sign, and the highest bit of `sign` is set.
__device__ __forceinline__ float half_turns_off(float phase, unsigned &sign) {
    const float rounder = 6291456.0f; // 1.5 * 2^22: numbers of this size are 1/2 apart
    float shifted = fmaf(phase, Turn<float>::inverse, rounder);
    sign = __float_as_uint(shifted) << 31;
    return fmaf(shifted - rounder, -Turn<float>::value, phase);
}
__device__ __forceinline__ double half_turns_off(double phase, unsigned &sign) {
    const double rounder = 3377699720527872.0; // 1.5 * 2^51
    double shifted = phase + rounder;
    sign = unsigned(__double_as_longlong(shifted)) << 31;
    return phase - (shifted - rounder);
}

__device__ __forceinline__ float flip_sign(float value, unsigned sign) {
    return __uint_as_float(__float_as_uint(value) ^ sign);
}
__device__ __forceinline__ double flip_sign(double value, unsigned sign) {
    return __longlong_as_double(__double_as_longlong(value) ^ ((long long)(sign) << 32));
}

// Polynomials in radians up to a quarter of a turn either way, with minimax errors 1.1e-7 (cosine)
// and 0.5e-7 (sine): the coefficients were rounded to float32 one by one, and the others fitted
// again after each.
__device__ __forceinline__ float cosine_polynomial(float square) {
    float value = 2.3114342e-05f;
    value = fmaf(value, square, -0.00138531f);
    value = fmaf(value, square, 0.041663773f);
    value = fmaf(value, square, -0.49999934f);
    return fmaf(value, square, 1.0f);
}
__device__ __forceinline__ float sine_polynomial(float phase, float square) {
    float value = 2.5807124e-06f;
    value = fmaf(value, square, -0.0001980056f);
    value = fmaf(value, square, 0.00833302f);
    value = fmaf(value, square, -0.16666666f);
    return fmaf(value * square, phase, phase);
}

// Polynomials in turns, with the coefficients of the Numba kernels.
__device__ __forceinline__ double cosine_polynomial(double square) {
    double value = 0.272021802515473;
    value = fma(value, square, -1.7132385195353788);
    value = fma(value, square, 7.903464682324647);
    value = fma(value, square, -26.426254193107656);
    value = fma(value, square, 60.24464131730762);
    value = fma(value, square, -85.45681720605754);
    value = fma(value, square, 64.9393940226647);
    value = fma(value, square, -19.73920880217871);
    return fma(value, square, 1.0);
}
__device__ __forceinline__ double sine_polynomial(double phase, double square) {
    double value = -0.6909301861499394;
    value = fma(value, square, 3.816996093216836);
    value = fma(value, square, -15.094471491460052);
    value = fma(value, square, 42.05868829941355);
    value = fma(value, square, -76.70585964731671);
    value = fma(value, square, 81.60524927502428);
    value = fma(value, square, -41.34170224039507);
    value = fma(value, square, 6.28318530717958);
    return value * phase;
}

__device__ __forceinline__ void cosine_and_sine(float phase, float &cosine, float &sine) {
    const float rest = whole_turns_off(phase);
    cosine = unit_cosine(rest);
    sine = unit_sine(rest);
}
__device__ __forceinline__ void cosine_and_sine(double phase, double &cosine, double &sine) {
    unsigned sign;
    const double rest = half_turns_off(phase, sign), square = rest * rest;
    cosine = flip_sign(cosine_polynomial(square), sign);
    sine = flip_sign(sine_polynomial(rest, square), sign);
}

__device__ __forceinline__ float cosine_of(float phase) {
    return unit_cosine(whole_turns_off(phase));
}
__device__ __forceinline__ double cosine_of(double phase) {
    unsigned sign;
    const double rest = half_turns_off(phase, sign);
    return flip_sign(cosine_polynomial(rest * rest), sign);
}

// real += weight * cos(phase), imag += weight * sin(phase).
template <typename T>
__device__ __forceinline__ void add_sincos_by_polynomial(T phase, T weight, T &real, T &imag) {
    unsigned sign;
    T rest = half_turns_off(phase, sign), square = rest * rest;
    T signed_weight = flip_sign(weight, sign);
    real = fma(signed_weight, cosine_polynomial(square), real);
    imag = fma(signed_weight, sine_polynomial(rest, square), imag);
}

// The same by the special-function unit; float64 has none and takes the polynomials.
__device__ __forceinline__ void add_sincos_by_unit(float phase, float weight, float &real,
                                                   float &imag) {
    float rest = whole_turns_off(phase);
    real = fmaf(weight, unit_cosine(rest), real);
    imag = fmaf(weight, unit_sine(rest), imag);
}
__device__ __forceinline__ void add_sincos_by_unit(double phase, double weight, double &real,
                                                   double &imag) {
    add_sincos_by_polynomial(phase, weight, real, imag);
}
