# Copies the ONNX Runtime C headers out of the Go module that carries them: cmake -DGO= -DROOT= -DINCLUDE= -P header.cmake
cmake_minimum_required(VERSION 3.21)
set(MODULE github.com/yalue/onnxruntime_go)

execute_process(COMMAND "${GO}" mod download -json "${MODULE}" WORKING_DIRECTORY "${ROOT}"
  RESULT_VARIABLE status OUTPUT_VARIABLE said ERROR_VARIABLE said_aside)
if(NOT status EQUAL 0)
  message(FATAL_ERROR "the C header: `go mod download ${MODULE}` failed: ${said}${said_aside}\n"
    "It needs the network once, or a module cache that holds it.")
endif()
string(JSON folder GET "${said}" Dir)
file(MAKE_DIRECTORY "${INCLUDE}")
foreach(name onnxruntime_c_api.h onnxruntime_ep_c_api.h)
  file(COPY_FILE "${folder}/${name}" "${INCLUDE}/.${name}.part")
  file(CHMOD "${INCLUDE}/.${name}.part" PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)
  file(RENAME "${INCLUDE}/.${name}.part" "${INCLUDE}/${name}")
  file(TOUCH "${INCLUDE}/${name}")
endforeach()
