"""Commands of the pages that the tests of pages do not run, and why they may leave them out.

A key is how a command begins; the longest one counts. A value is one of

- a test, ``tests/FILE.py::NAME``, that does what the command does;
- ``.ci/run: make TARGET``, if continuous integration runs it;
- a reason in words, if it needs a board, a GPU, hours, or belongs to another project. Of such a command the names are
  checked: that the target, the file and the options exist.
"""

from __future__ import annotations

_LOOPS = "tests/examples/test_training_loops.py::"
_ADAPT = "tests/examples/test_adapt.py::"
_BENCH = "tests/benchmark/test_bench.py::"
_CONVERT = "tests/benchmark/test_convert_time.py::"
_MEMORY = "tests/benchmark/test_memory_bench.py::"
_NETWORKS = "tests/benchmark/test_networks_bench.py::"
_CAMERA = "tests/finetuning/test_camera_folder.py::"
_TORCHRUN = "tests/distributed/test_torchrun.py::"
_PICTURES = "tests/examples/test_picture_loops.py::"
_SUPERLINK = (
    "tests/federated/test_superlink.py::test_a_round_goes_on_without_a_client_that_is_killed_and_nothing_is_lost"
)
_OTHERS = "belongs to another project, and would change the machine"

ELSEWHERE = {
    ".": _OTHERS,
    "adapt predict": _ADAPT + "test_it_predicts_names_and_probabilities",
    "adapt train": _ADAPT + "test_it_trains_the_bits_of_a_session",
    "cmake -S .": "tests/helpers/c_library.py::install",
    "cmake -S examples/board": "tests/helpers/adapt_program.py::build",
    "cmake --build": "tests/helpers/adapt_program.py::build",
    "cmake --install": "tests/helpers/c_library.py::install",
    "make board-example-aarch64": ".ci/run: make board-example-armhf board-example-aarch64",
    "make check-aarch64": "takes half an hour under the emulator; .ci/run takes one processor, as check-aarch64-native",
    "make check-armhf": ".ci/run: make check-armhf",
    "make check-board-example": ".ci/run: make check-board-example",
    "make check-cuda": "needs a GPU",
    "make demo": "tests/finetuning/test_demo.py::test_the_demo_learns_handwriting_inside_its_budget",
    "make test": ".ci/run: make test",
    "make wheel-aarch64": "builds a wheel for ARM, in minutes",
    "make wheel-runtime-aarch64": "builds a wheel for ARM, in minutes",
    "flower-superlink": _SUPERLINK,
    "flower-supernode": _SUPERLINK,
    "flwr run": _SUPERLINK,
    "pip": _OTHERS,
    "python bench/backward_speed.py": _BENCH + "test_every_layer_has_three_measurements",
    "python bench/convert_time.py": _CONVERT + "test_the_command_measures_in_processes_of_their_own",
    "python bench/federated.py": "trains for half an hour",
    "python bench/federated_scale.py": "tests/benchmark/test_federated_bench.py::test_what_a_server_takes_is_measured",
    "python bench/footprint.py": "runs for minutes, and beside another framework",
    "python bench/memory.py": _MEMORY + "test_a_step_holds_a_fiftieth_of_the_features_and_a_hundredth_of_all",
    "python bench/networks.py": _NETWORKS + "test_the_command_measures_and_writes_its_table_behind_what_a_file_says",
    "python bench/reservoir.py": "trains for hours",
    "python bench/rivals.py": "tests/benchmark/test_rivals.py::test_sparsebp_and_torch_train_what_they_should",
    "python examples/camera_folder.py": _CAMERA + "test_pictures_are_learnt_as_they_come",
    "python bench/smallest_budgets.py": "takes minutes; tests/planning/test_smallest_budgets.py checks its table",
    "python examples/lightning_loop.py": _PICTURES + "test_lightning_learns_a_folder",
    "python examples/plain_loop.py": _PICTURES + "test_the_plain_loop_learns_a_folder",
    "python examples/keywords.py": _LOOPS + "test_ds_cnn_and_m5_hear",
    "python examples/mobilenet_v3.py": _LOOPS + "test_timm_s_mobilenet_v3_adapts",
    "python examples/segmentation.py": _LOOPS + "test_a_u_net_segments",
    "python examples/two_outputs.py": _LOOPS + "test_two_outputs_learn_by_a_loss_of_their_own",
    "python3 -m venv": _OTHERS,
    "scp": _OTHERS,
    "torchrun --nnodes": "needs two machines",
    "torchrun --nproc-per-node 2 -m sparsebp": _TORCHRUN + "test_the_command_trains_what_one_process_trains",
    "torchrun --nproc-per-node 2 examples/data_parallel.py": _TORCHRUN + "test_the_example_trains_on_two_ranks",
}

#: What a test cannot have: our own commands and Python that say this are read, and their names checked, but do not run.
NOT_HERE = {
    '"cuda"': "needs a GPU",
    "--device cuda": "needs a GPU",
    "distributed.join": "needs several processes; tests/distributed/test_torchrun.py runs the example that it is of",
    "GraphedStep": "needs a GPU; tests/training/test_gpu_graphs.py runs it on an emulated one",
    "federated.flower": "needs Flower; tests/federated/test_flower.py runs what it does where Flower is",
    "--onnx": "takes ten seconds; tests/cli/test_onnx_cli.py runs it",
    "export_onnx": "takes ten seconds; tests/training/test_onnx.py runs it",
    "onnxruntime": "needs the file of export_onnx; tests/training/test_onnx.py reads it so",
    "torchvision:": "loads weights from the network",
    "timm:": "loads weights from the network",
}
