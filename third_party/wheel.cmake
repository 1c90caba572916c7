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

# give_up(folder text): removes the half-done folder and ends with the text.
function(give_up folder text)
  file(REMOVE_RECURSE "${folder}")
  message(FATAL_ERROR "${text}")
endfunction()

# download_wheel(OUT package version python tag folder): the wheel's path after `pip download` put it into folder.
function(download_wheel out package version python tag folder)
  message(STATUS "downloading ${package} ${version} (${tag}) from the Python package index")
  execute_process(
    COMMAND "${PYTHON}" -m pip --disable-pip-version-check download -qq --no-deps --only-binary=:all:
      --implementation cp --python-version "${python}" --platform "${tag}" --dest "${folder}" "${package}==${version}"
    RESULT_VARIABLE status ERROR_VARIABLE said OUTPUT_VARIABLE said)
  file(GLOB wheels "${folder}/*.whl")
  list(LENGTH wheels n)
  if(NOT status EQUAL 0 OR NOT n EQUAL 1)
    string(STRIP "${said}" said)
    give_up("${folder}" "downloading ${package} ${version}: pip download failed (${status}):\n${said}\n\
It needs `${PYTHON} -m pip` (Debian: apt install python3-pip) and, this once, the network.")
  endif()
  set(${out} "${wheels}" PARENT_SCOPE)
endfunction()

# keep(folder file sha256 what): moves a fetched file from the folder to the downloads, or refuses it.
function(keep folder path sum what)
  if(NOT EXISTS "${folder}/${path}")
    give_up("${folder}" "${what}: not in the wheel; is the version that third_party names right?")
  endif()
  file(SHA256 "${folder}/${path}" found)
  if(NOT found STREQUAL sum)
    give_up("${folder}" "${what}: refused: its sha256 is\n  ${found}\nand third_party pins\n  ${sum}")
  endif()
  file(RENAME "${folder}/${path}" "${DOWNLOADS}/${sum}")
endfunction()

# open_folder(OUT package): an empty folder of our own inside the downloads.
function(open_folder out package)
  name_beside(folder "${DOWNLOADS}/${package}")
  file(MAKE_DIRECTORY "${folder}")
  set(${out} "${folder}" PARENT_SCOPE)
endfunction()

# fetch_wheel(package version python tag sha256): sees that the whole wheel lies in ${DOWNLOADS}/<sha256>.
function(fetch_wheel package version python tag sum)
  is_file_with_sum(have "${DOWNLOADS}/${sum}" "${sum}")
  if(have)
    return()
  endif()
  open_folder(folder "${package}")
  download_wheel(wheel "${package}" "${version}" "${python}" "${tag}" "${folder}")
  get_filename_component(name "${wheel}" NAME)
  keep("${folder}" "${name}" "${sum}" "${package} ${version}: ${name}")
  file(REMOVE_RECURSE "${folder}")
endfunction()

# fetch_from_wheel(package version python tag path sha256 ...): sees that each file lies in ${DOWNLOADS}/<sha256>.
function(fetch_from_wheel package version python tag)
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

  open_folder(folder "${package}")
  download_wheel(wheel "${package}" "${version}" "${python}" "${tag}" "${folder}")
  set(paths "")
  set(pairs ${missing})
  while(pairs)
    list(POP_FRONT pairs path sum)
    list(APPEND paths "${path}")
  endwhile()
  file(ARCHIVE_EXTRACT INPUT "${wheel}" DESTINATION "${folder}" PATTERNS ${paths})
  while(missing)
    list(POP_FRONT missing path sum)
    keep("${folder}" "${path}" "${sum}" "${package} ${version}: ${path}")
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
