# make fuzz   looks for a specification or calls that break the native core, for SECONDS=600. Bytes that do are written
#             to build/fuzz/crash-...; build/fuzz/tests/fuzz/fuzz_program FILE runs them again.

SECONDS := 600
FUZZ := build/fuzz

.PHONY: fuzz

fuzz: $(CROSS)/tools/stamp
	compiler=$$(tests/fuzz/compiler) && PATH=$(CURDIR)/$(CROSS_BIN):$$PATH \
	  cmake --fresh --preset fuzz -DCMAKE_CXX_COMPILER="$$compiler"
	PATH=$(CURDIR)/$(CROSS_BIN):$$PATH cmake --build --preset fuzz
	mkdir -p $(FUZZ)/corpus
	python3 tests/fuzz/seeds.py $(FUZZ)/seeds
	$(FUZZ)/tests/fuzz/fuzz_program $(FUZZ)/corpus $(FUZZ)/seeds -max_total_time=$(SECONDS) -max_len=512 \
	  -len_control=0 -entropic=0 -timeout=60 -rss_limit_mb=4096 -artifact_prefix=$(FUZZ)/ -verbosity=0 -print_final_stats=1
