# SPDX-License-Identifier: MIT
# Backend cuda: a module that is loaded when it is asked for, so that the program runs where no driver is installed.
set(HAVE_CUDA OFF)
if(FASTVMT_CUDA)
    include(CheckLanguage)
    check_language(CUDA)
endif()
if(NOT FASTVMT_CUDA OR NOT CMAKE_CUDA_COMPILER)
    return()
endif()

if(NOT FASTVMT_CUDA_ARCHITECTURES)
    # Those of our list that this nvcc knows, and the oldest as PTX for every chip that comes later.
    execute_process(COMMAND ${CMAKE_CUDA_COMPILER} --list-gpu-arch OUTPUT_VARIABLE known)
    foreach(arch 80 86 89 90a 100 120)
        string(REGEX REPLACE "[a-z]" "" number ${arch})
        if(known MATCHES "compute_${number}[^0-9]")
            list(APPEND FASTVMT_CUDA_ARCHITECTURES ${arch}-real)
        endif()
    endforeach()
    list(APPEND FASTVMT_CUDA_ARCHITECTURES 80-virtual)
endif()
set(CMAKE_CUDA_ARCHITECTURES ${FASTVMT_CUDA_ARCHITECTURES})
enable_language(CUDA)
find_package(CUDAToolkit 12.4)
if(NOT CUDAToolkit_FOUND OR NOT TARGET CUDA::cublasLt)
    message(STATUS "nvcc is here, cuBLASLt of CUDA 12.4 or later is not: no backend cuda")
    return()
endif()
set(HAVE_CUDA ON)

file(GLOB CUDA_KERNELS CONFIGURE_DEPENDS src/backend/cuda/*.cu)
add_library(fastvmt_cuda_kernels OBJECT ${CUDA_KERNELS})
target_include_directories(fastvmt_cuda_kernels PRIVATE include src)
set_target_properties(fastvmt_cuda_kernels PROPERTIES CUDA_STANDARD 17 POSITION_INDEPENDENT_CODE ON
    CUDA_VISIBILITY_PRESET hidden)
target_compile_options(fastvmt_cuda_kernels PRIVATE -Xcompiler=-Wall,-Wextra
    $<$<BOOL:${FASTVMT_WERROR}>:-Werror=all-warnings>)

file(GLOB CUDA_SOURCES CONFIGURE_DEPENDS src/backend/cuda/*.c)
find_path(CUDNN_INCLUDE cudnn.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
if(CUDNN_INCLUDE) # its headers; the library itself is loaded at run time
    list(APPEND CUDA_SOURCES src/backend/cuda/cuda_cudnn.cpp)
endif()
add_library(fastvmt_cuda MODULE ${CUDA_SOURCES} $<TARGET_OBJECTS:fastvmt_cuda_kernels>
    src/base/ctx.c src/base/arena.c src/base/quant.c src/tensor/tensor.c src/tensor/ops.c)
target_link_options(fastvmt_cuda PRIVATE -Wl,-z,defs) # what it needs of the library is named above
set_target_properties(fastvmt_cuda PROPERTIES OUTPUT_NAME fastvmt-cuda)
target_compile_definitions(fastvmt_cuda PRIVATE FASTVMT_MODULE_VERSION="${PROJECT_VERSION}")
target_include_directories(fastvmt_cuda SYSTEM PRIVATE ${CUDAToolkit_INCLUDE_DIRS})
if(CUDNN_INCLUDE)
    target_compile_definitions(fastvmt_cuda PRIVATE FASTVMT_HAVE_CUDNN=1)
    target_include_directories(fastvmt_cuda SYSTEM PRIVATE third_party/cudnn_frontend/include ${CUDNN_INCLUDE})
    set_source_files_properties(src/backend/cuda/cuda_cudnn.cpp PROPERTIES COMPILE_OPTIONS "-O1;-g0") # templates
endif()
target_link_libraries(fastvmt_cuda PRIVATE ${CMAKE_DL_LIBS} fastvmt_flags CUDA::cudart_static CUDA::cublasLt m)
if(OpenMP_C_FOUND)
    target_link_libraries(fastvmt_cuda PRIVATE OpenMP::OpenMP_C)
endif()
# One name is exported: what the C++ runtime linked in would add unifies with the one that cuDNN brings along.
target_link_options(fastvmt_cuda PRIVATE -Wl,--version-script=${CMAKE_CURRENT_LIST_DIR}/fastvmt-cuda.map
    -Wl,--exclude-libs,ALL)
set_target_properties(fastvmt_cuda PROPERTIES LINK_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/fastvmt-cuda.map)
add_dependencies(fastvmt fastvmt_cuda)
