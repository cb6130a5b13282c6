# make fuzz   looks for a specification, calls or a plan file that break the native core, for SECONDS=600 in all. Bytes
#             that do are written to build/fuzz/crash-...; build/fuzz/tests/fuzz/fuzz_program (or fuzz_plan) FILE runs
#             them again.

SECONDS := 600
FUZZ := build/fuzz

# Of each of the two.
FUZZING = -max_total_time=$$(($(SECONDS) / 2)) -len_control=0 -entropic=0 -timeout=60 -rss_limit_mb=4096 \
	  -artifact_prefix=$(FUZZ)/ -verbosity=0 -print_final_stats=1

.PHONY: fuzz

fuzz: $(CROSS)/tools/stamp
	compiler=$$(tests/fuzz/compiler) && PATH=$(CURDIR)/$(CROSS_BIN):$$PATH \
	  cmake --fresh --preset fuzz -DCMAKE_CXX_COMPILER="$$compiler"
	PATH=$(CURDIR)/$(CROSS_BIN):$$PATH cmake --build --preset fuzz
	mkdir -p $(FUZZ)/corpus $(FUZZ)/plans
	python3 tests/fuzz/seeds.py $(FUZZ)/seeds
	$(FUZZ)/tests/fuzz/plan_seeds $(FUZZ)/plan_seeds
	$(FUZZ)/tests/fuzz/fuzz_program $(FUZZ)/corpus $(FUZZ)/seeds -max_len=512 $(FUZZING)
	$(FUZZ)/tests/fuzz/fuzz_plan $(FUZZ)/plans $(FUZZ)/plan_seeds -max_len=16384 $(FUZZING)
