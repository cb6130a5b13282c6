# The Python files of sparsebp that sparsebp-runtime is made of, in the same places under its own name. None of them
# needs torch.
set(package ${PROJECT_SOURCE_DIR}/python/sparsebp)
foreach(name errors files units version)
  install(FILES ${package}/${name}.py DESTINATION sparsebp_runtime)
endforeach()
install(FILES ${package}/_C.pyi ${package}/py.typed DESTINATION sparsebp_runtime)
install(DIRECTORY ${package}/runtime DESTINATION sparsebp_runtime FILES_MATCHING PATTERN "*.py")
install(DIRECTORY ${package}/federated DESTINATION sparsebp_runtime FILES_MATCHING PATTERN "*.py")
install(DIRECTORY ${package}/data DESTINATION sparsebp_runtime FILES_MATCHING PATTERN "*.py"
  PATTERN loader.py EXCLUDE PATTERN workers.py EXCLUDE)
