# What we take out of ONNX Runtime's wheels on PyPI: for each platform the wheel's tag and, of each file inside, its path and sha256.
# The inner files are pinned, not the wheels. The CPU library is the same file in the wheels of every Python version; the CUDA provider
# is not, so the version whose wheel is taken is part of the pin.
# To upgrade: change the version, run `make`, and look at each refused sum before it goes in here.

if(VARIANT STREQUAL "cuda")
  set(PACKAGE onnxruntime-gpu)
  set(VERSION 1.31.1)
  set(WHEEL_PYTHON 3.11)
  set(NOTICES
    onnxruntime/LICENSE                                 2f07c72751aed99790b8a4869cf2311df85a860b22ded05fa22803587a48922c
    onnxruntime/ThirdPartyNotices.txt                   143764b952fdb1a7c69ce653bfba74a7744d6a8a573bfb73e235fba356c83de3)
  if(PLATFORM STREQUAL "linux-x64")
    set(WHEEL_TAG manylinux_2_28_x86_64)
    set(LIBRARIES
      onnxruntime/capi/libonnxruntime.so.1.31.1           5104254339ecadae808da771bd0b63b240f0dbd466514234905e54372435c303
      onnxruntime/capi/libonnxruntime_providers_cuda.so   d5290158115fa5569a3fe8f1f4037ee9b0e86658a96e52f852bbb7039aa88137
      onnxruntime/capi/libonnxruntime_providers_shared.so 086ec1d5388f64153d9c63470d126693db9a182c8ce236d3a1119068471b8a0d)
  endif()
else()
  set(PACKAGE onnxruntime)
  set(VERSION 1.32.0)
  set(WHEEL_PYTHON 3.12)
  set(NOTICES
    onnxruntime/LICENSE                                 2f07c72751aed99790b8a4869cf2311df85a860b22ded05fa22803587a48922c
    onnxruntime/ThirdPartyNotices.txt                   d8696258afcf9df7827a5e01d6b6d55ee9b461b4e82020f5f48242deb9cc2270)
  if(PLATFORM STREQUAL "linux-x64")
    set(WHEEL_TAG manylinux_2_28_x86_64)
    set(LIBRARIES
      onnxruntime/capi/libonnxruntime.so.1.32.0           6c1585d1bbf45b0712ea4a21b705c5fcb4ba04ff2e30f1fbf81a49faf658638f)
  elseif(PLATFORM STREQUAL "linux-arm64")
    set(WHEEL_TAG manylinux_2_28_aarch64)
    set(LIBRARIES
      onnxruntime/capi/libonnxruntime.so.1.32.0           49852228a93995158b2a813d4df487d47a1b76b0eaa894507ef49e91b6d7954a)
  elseif(PLATFORM STREQUAL "macos-arm64")
    set(WHEEL_TAG macosx_14_0_arm64)
    set(LIBRARIES
      onnxruntime/capi/libonnxruntime.1.32.0.dylib        fa585fabbea65b823b9a8f7e27d46aee3989d1be7e36b528203d3a1fd613aae7)
  endif()
endif()
