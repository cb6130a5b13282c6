# ARM Linux: build here, run there. Everything that this fetches goes to build/cross.
# make wheel-aarch64   the wheel for 64-bit boards, in dist/; PYTHON=3.10 ... 3.13 says for which Python, CUDA=1 takes
#                      the GPU of a Jetson Orin along
# make check-aarch64   native and Python tests for 64-bit ARM, under an emulator
# make check-armhf     native tests for 32-bit ARM, under an emulator
# make board-example-aarch64, board-example-armhf
#                      the C library and examples/board against it: build/cross/board-aarch64/example/adapt, and
#                      build/cross/board-aarch64/installed/lib, which goes to the board with it
# make check-board-example   runs both under the emulator, beside a session on this machine
# Wheels without torch, for 32-bit ARM as well: see runtime.mk.
# make cycles          estimates the cycles of the NEON kernels' inner loops

CROSS := build/cross
CROSS_BIN := $(CROSS)/tools/bin
WHEEL_PYTHON := $(filter 3.%,$(patsubst python%,%,$(notdir $(PYTHON))))
UNPACK := python3 cross/debian.py

.PHONY: cross-tools wheel-aarch64 check-aarch64 check-armhf check-aarch64-native check-board-example emulator cycles

cross-tools: $(CROSS)/tools/stamp

$(CROSS)/tools/stamp: cross/requirements.txt
	python3 -m venv $(CROSS)/tools
	$(CROSS_BIN)/python -m pip install -q -r cross/requirements.txt
	@touch $@
	@echo "$(CROSS)/tools: installed the compiler (zig) and what builds wheels, from PyPI"

emulator:
	$(UNPACK) $(CROSS)/amd64 qemu-user-static --no-dependencies

wheel-aarch64: $(CROSS)/tools/stamp
	$(CROSS_BIN)/python cross/wheel.py sparsebp --arch aarch64 $(addprefix --python ,$(WHEEL_PYTHON)) $(if $(CUDA),--cuda --out dist/cuda)

# $(call native_tests,PRESET,CPU=ISA...): builds the native tests and runs them on each of the emulated processors, the
# kernels of which have to be those of ISA. Brief: all of the kernels' tests, some of those of whole programs.
define native_tests
	PATH=$(CURDIR)/$(CROSS_BIN):$$PATH cmake --preset $(1)
	PATH=$(CURDIR)/$(CROSS_BIN):$$PATH cmake --build --preset $(1)
	for pair in $(2); do \
	  echo "$(1): native tests on a $${pair%=*} with $${pair#*=} kernels"; \
	  (cd build/$(1) && QEMU_CPU=$${pair%=*} SPARSEBP_EXPECTED_ISA=$${pair#*=} SPARSEBP_BRIEF=1 \
	    $(CURDIR)/$(CROSS_BIN)/ctest --output-on-failure -j $$(nproc)) || exit 1; \
	done
endef

ARMHF := cortex-a7=neon cortex-a9=scalar
AARCH64 := cortex-a53=neon cortex-a76=neon

check-armhf: $(CROSS)/tools/stamp emulator
	$(UNPACK) $(CROSS)/armhf libc6 --arch armhf
	$(call native_tests,armhf,$(ARMHF))

check-aarch64-native: $(CROSS)/tools/stamp emulator
	$(UNPACK) $(CROSS)/arm64 libc6 --arch arm64
	$(call native_tests,aarch64,$(AARCH64))

# The library lies in the folder of the native tests, which share all that is compiled for it.
BOARD_EXAMPLES := board-example-aarch64 board-example-armhf
.PHONY: $(BOARD_EXAMPLES)

$(BOARD_EXAMPLES): board-example-%: $(CROSS)/tools/stamp
	PATH=$(CURDIR)/$(CROSS_BIN):$$PATH && board=$(CURDIR)/$(CROSS)/board-$* && \
	  cmake --preset $* && cmake --build --preset $* --target sparsebp_shared && \
	  cmake --install build/$* --prefix $$board/installed && \
	  cmake -S examples/board -B $$board/example -G Ninja -DCMAKE_PREFIX_PATH=$$board/installed \
	    -DCMAKE_TOOLCHAIN_FILE=$(CURDIR)/cmake/toolchain-$*.cmake -DCMAKE_C_FLAGS=-Werror && \
	  cmake --build $$board/example

check-board-example: $(BOARD_EXAMPLES) emulator $(VENV)/test.stamp
	$(UNPACK) $(CROSS)/arm64 libc6 --arch arm64
	$(UNPACK) $(CROSS)/armhf libc6 --arch armhf
	SPARSEBP_BOARD_EXAMPLES=$(CROSS) $(BIN)/python -m pytest -q tests/board/test_board_example.py

# The Python part: the wheel, installed beside what a board has, imported by an ARM Python, must train the weights that
# this machine trains, on an old processor (ARMv8.0: Raspberry Pi 3 and 4) and on a newer one.
BOARDS := cortex-a53 cortex-a76
ARM_PYTHON := cross/bin/python-aarch64
ARM_SITE := $(CROSS)/site

$(ARM_SITE)/stamp: cross/board-requirements.txt $(CROSS)/tools/stamp
	rm -rf $(ARM_SITE)
	$(CROSS_BIN)/python cross/board_site.py $(ARM_SITE) --arch aarch64 --python 3.11 -r cross/board-requirements.txt
	@touch $@
	@echo "$(ARM_SITE): installed what a board needs beside sparsebp, from PyPI"

check-aarch64: check-aarch64-native $(ARM_SITE)/stamp $(VENV)/test.stamp
	$(UNPACK) $(CROSS)/arm64 python3.11-minimal libpython3.11-stdlib libgomp1 libstdc++6 --arch arm64
	$(CROSS_BIN)/python cross/wheel.py sparsebp --arch aarch64 --python 3.11 --site $(ARM_SITE)
	SPARSEBP_WHEELS="$$(echo dist/sparsebp-*-cp311-*aarch64.whl)" $(BIN)/python -m pytest -q tests/board/test_wheel.py
	$(BIN)/python tests/helpers/fifty_steps.py $(CROSS)/reference.safetensors \
	  $(if $(SPARSEBP_DATA),--weights $(SPARSEBP_DATA)/mobilenet_v2_imagenet.pt)
	for cpu in $(BOARDS); do \
	  echo "the wheel on a $$cpu"; \
	  QEMU_CPU=$$cpu PYTHONPATH=$(ARM_SITE) SPARSEBP_REFERENCE=$(CROSS)/reference.safetensors \
	    $(ARM_PYTHON) -m pytest -q tests/board/test_board.py tests/board/test_board_torch.py || exit 1; \
	done

# What CMake gives neon.cpp, but to assembly.
$(CROSS)/neon.s: $(wildcard csrc/isa/*.h csrc/isa/neon.cpp csrc/kernels/*.h csrc/core/shape.h) $(CROSS)/tools/stamp
	cross/bin/aarch64-linux-gnu-c++ -std=c++17 -O3 -g0 -fPIC -ffp-contract=off -fno-math-errno -Icsrc -S -o $@ csrc/isa/neon.cpp

cycles: $(CROSS)/neon.s $(VENV)/test.stamp
	$(UNPACK) $(CROSS)/trixie llvm-19 --suite trixie
	$(BIN)/python bench/cycles.py $<
