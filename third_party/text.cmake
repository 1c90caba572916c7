# Builds the crate third_party/text and puts its static library into build/lib: cmake -DCARGO= -DROOT= -DBUILD= -P text.cmake
cmake_minimum_required(VERSION 3.21)

execute_process(
  COMMAND "${CARGO}" build --release --locked --manifest-path "${ROOT}/third_party/text/Cargo.toml" --target-dir "${BUILD}/cargo"
  RESULT_VARIABLE status)
if(NOT status EQUAL 0)
  message(FATAL_ERROR "the Rust static library: cargo build failed (${status}), see above. It needs a current Rust "
    "(https://rustup.rs) and, the first time, the network for crates.io.")
endif()
set(built "${BUILD}/cargo/release/libtokenizers.a")
if(NOT EXISTS "${built}")
  message(FATAL_ERROR "the Rust static library: cargo left no ${built}; the crate must be a staticlib named tokenizers")
endif()
file(MAKE_DIRECTORY "${BUILD}/lib")
file(COPY_FILE "${built}" "${BUILD}/lib/.libtokenizers.a.part")
file(RENAME "${BUILD}/lib/.libtokenizers.a.part" "${BUILD}/lib/libtokenizers.a")
file(TOUCH "${BUILD}/lib/libtokenizers.a")
