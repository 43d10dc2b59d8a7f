"""What computes attention is called here, and a kernel that does not load says why."""

from deepicd.doctor.kernels import _fault_of_import, run_kernels


def test_the_kernels_of_the_installed_profile_work():
    found = run_kernels()
    assert not any(found["kernels"].values()), found
    assert {"torch scaled_dot_product_attention", "vllm._C"} <= set(found["kernels"])


def test_a_kernel_that_cannot_be_loaded_says_why():
    assert _fault_of_import("no_such_kernel").startswith("ModuleNotFoundError: No module named")
