# SPDX-License-Identifier: MIT
# The shared library, and what `make install` puts where.  Every path below the prefix is relative to the others, so
# that an installed tree may be moved.  media stays out: its header is the program's own.

# ---- libfastvmt.so: the static library's objects, with the public header's symbols alone
if(FASTVMT_SHARED)
    set(LINKER_LANGUAGE C)
    if(HAVE_SENTENCEPIECE)
        set(LINKER_LANGUAGE CXX)
    endif()
    get_target_property(objects fastvmt SOURCES)
    list(FILTER objects INCLUDE REGEX "TARGET_OBJECTS")
    add_library(fastvmt_shared SHARED $<TARGET_OBJECTS:fastvmt> ${objects})
    set_target_properties(fastvmt_shared PROPERTIES OUTPUT_NAME fastvmt VERSION ${PROJECT_VERSION}
        SOVERSION ${PROJECT_VERSION_MAJOR} LINKER_LANGUAGE ${LINKER_LANGUAGE}
        LINK_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/libfastvmt.map)
    target_link_libraries(fastvmt_shared PRIVATE $<TARGET_PROPERTY:fastvmt,LINK_LIBRARIES>)
    target_link_options(fastvmt_shared PRIVATE -Wl,--version-script=${CMAKE_CURRENT_LIST_DIR}/libfastvmt.map)
    if(NOT FASTVMT_SANITIZE) # clang leaves the sanitizers' symbols to the program
        target_link_options(fastvmt_shared PRIVATE -Wl,--no-undefined)
    endif()
    install(TARGETS fastvmt_shared LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
endif()

# ---- fastvmt.pc: who links the static library needs what it was built with
set(LIBS_PRIVATE)
macro(private_library path) # -lNAME, after -L where the linker would not look by itself
    get_filename_component(folder "${path}" DIRECTORY)
    get_filename_component(name "${path}" NAME_WE)
    string(REGEX REPLACE "^lib" "" name "${name}")
    if(folder AND NOT folder IN_LIST CMAKE_C_IMPLICIT_LINK_DIRECTORIES)
        list(APPEND LIBS_PRIVATE -L${folder})
    endif()
    list(APPEND LIBS_PRIVATE -l${name})
endmacro()
if(HAVE_DNNL)
    private_library("${DNNL_LIBRARY}")
endif()
if(HAVE_SENTENCEPIECE)
    private_library("${SENTENCEPIECE_LIBRARY}")
    foreach(name stdc++ c++)
        if(name IN_LIST CMAKE_CXX_IMPLICIT_LINK_LIBRARIES)
            list(APPEND LIBS_PRIVATE -l${name})
        endif()
    endforeach()
endif()
if(OpenMP_C_FOUND)
    foreach(name ${OpenMP_C_LIB_NAMES})
        private_library("${OpenMP_${name}_LIBRARY}")
    endforeach()
endif()
list(APPEND LIBS_PRIVATE ${CMAKE_THREAD_LIBS_INIT} -lm)
list(REMOVE_DUPLICATES LIBS_PRIVATE)
list(JOIN LIBS_PRIVATE " " LIBS_PRIVATE)
file(RELATIVE_PATH PREFIX_FROM_PC ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
string(REGEX REPLACE "/$" "" PREFIX_FROM_PC "${PREFIX_FROM_PC}")
configure_file(${CMAKE_CURRENT_LIST_DIR}/fastvmt.pc.in share/fastvmt.pc @ONLY)

# ---- manual and completions: printed by the program from its option tables
set(SHARE ${CMAKE_CURRENT_BINARY_DIR}/share)
set(PRINTED)
macro(printed file) # arguments: what the program is called with
    add_custom_command(OUTPUT ${SHARE}/${file} DEPENDS fastvmt_cli VERBATIM
        COMMAND fastvmt_cli ${ARGN} > ${SHARE}/${file})
    list(APPEND PRINTED ${SHARE}/${file})
endmacro()
if(CMAKE_CROSSCOMPILING AND NOT CMAKE_CROSSCOMPILING_EMULATOR)
    message(STATUS "no manual page and completions: this machine cannot run the program that prints them")
else()
    printed(fastvmt.1 manual)
    printed(fastvmt.bash completion bash)
    printed(_fastvmt completion zsh)
    printed(fastvmt.fish completion fish)
    add_custom_target(fastvmt_printed ALL DEPENDS ${PRINTED})
    install(FILES ${SHARE}/fastvmt.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
    install(FILES ${SHARE}/fastvmt.bash RENAME fastvmt
        DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
    install(FILES ${SHARE}/_fastvmt DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
    install(FILES ${SHARE}/fastvmt.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
endif()

# ---- the rest
install(TARGETS fastvmt_cli RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(TARGETS fastvmt ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
if(HAVE_LIBAV)
    install(TARGETS fastvmt_libav LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/fastvmt)
endif()
install(FILES include/fastvmt/fastvmt.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/fastvmt)
install(FILES ${SHARE}/fastvmt.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
install(FILES LICENSE NOTICE DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES third_party/cjson/LICENSE RENAME LICENSE.cjson DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(FILES third_party/utf8proc/LICENSE.md RENAME LICENSE.utf8proc.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
