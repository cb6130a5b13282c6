# sparsebp-runtime: what of sparsebp a board needs, without torch. The wheels lie in dist/.
# make wheel-runtime           for this machine's processor and Python, and a C library no older than its own
# make wheel-runtime-aarch64   for 64-bit boards; PYTHON=3.10 ... 3.13 says for which Python
# make wheel-runtime-armhf     for 32-bit boards; PYTHON=3.11 (the default) or 3.13, those of Debian 12 and 13
# make check-runtime           installs each of them alone and trains with it, here and under an emulator;
#                              RUNTIME_BOARDS names processors, RUNTIME_STEPS says how long

HERE := $(shell uname -m)
RUNTIME_BOARDS := cortex-a53 cortex-a76 cortex-a7
RUNTIME_STEPS := 50
RUNTIME_SITES := $(CROSS)/runtime-sites
RUNTIME_WHEEL := $(CROSS_BIN)/python cross/wheel.py sparsebp-runtime

.PHONY: wheel-runtime wheel-runtime-aarch64 wheel-runtime-armhf check-runtime

wheel-runtime: $(CROSS)/tools/stamp
	$(RUNTIME_WHEEL) --arch $(HERE)

wheel-runtime-aarch64: $(CROSS)/tools/stamp
	$(RUNTIME_WHEEL) --arch aarch64 $(addprefix --python ,$(WHEEL_PYTHON))

wheel-runtime-armhf: $(CROSS)/tools/stamp
	$(RUNTIME_WHEEL) --arch armhf --python $(or $(WHEEL_PYTHON),3.11)

# numpy comes from PyPI, for 32-bit ARM, which it has none for, from Debian.
check-runtime: emulator $(CROSS)/tools/stamp $(VENV)/test.stamp
	$(UNPACK) $(CROSS)/arm64 python3.11-minimal libpython3.11-stdlib libstdc++6 --arch arm64
	$(UNPACK) $(CROSS)/armhf python3.11-minimal libpython3.11-stdlib python3-numpy --arch armhf
	rm -rf $(RUNTIME_SITES)
	$(RUNTIME_WHEEL) --arch $(HERE) --site $(RUNTIME_SITES)/here
	$(RUNTIME_WHEEL) --arch aarch64 --python 3.11 --site $(RUNTIME_SITES)/aarch64
	$(RUNTIME_WHEEL) --arch armhf --python 3.11 --site $(RUNTIME_SITES)/armhf
	$(CROSS_BIN)/python cross/board_site.py $(RUNTIME_SITES)/here --arch $(HERE) numpy
	$(CROSS_BIN)/python cross/board_site.py $(RUNTIME_SITES)/aarch64 --arch aarch64 --python 3.11 numpy
	SPARSEBP_WHEELS="$$(echo dist/sparsebp_runtime-*.whl)" $(BIN)/python -m pytest -q tests/board/test_wheel.py
	SPARSEBP_RUNTIME_SITES=$(RUNTIME_SITES) SPARSEBP_RUNTIME_BOARDS="$(RUNTIME_BOARDS)" SPARSEBP_RUNTIME_STEPS=$(RUNTIME_STEPS) \
	  $(BIN)/python -m pytest -q tests/board/test_runtime_wheel.py
