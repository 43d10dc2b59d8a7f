"""Attention and log-probabilities are chosen by what imports, and the choice says why."""

import sys
import types

import pytest

from deepicd.errors import ConfigError
from deepicd.training.kernels import choose_kernels


def importing(**modules: Exception | None):
    """An import in which a named module raises, or is there."""

    def import_module(name: str) -> types.ModuleType:
        error = modules.get(name.replace(".", "__"), ModuleNotFoundError(f"No module {name!r}"))
        if error is not None:
            raise error
        return types.ModuleType(name)

    return import_module


WHOLE = importing(flash_attn=None, flash_attn__bert_padding=None)
HALF = importing(flash_attn=ImportError("undefined symbol: _ZN3c10"))


def test_without_flash_attention_torchs_own_is_taken_and_nothing_is_packed():
    chosen = choose_kernels("auto", importing())
    assert (chosen.attention, chosen.is_packed) == ("sdpa", False)
    assert chosen.why == "flash-attn is not installed"


def test_where_flash_attention_imports_it_is_taken_and_sequences_are_packed():
    chosen = choose_kernels("auto", WHOLE)
    assert (chosen.attention, chosen.is_packed) == ("flash_attention_2", True)


def test_what_is_named_is_taken_without_a_look():
    assert choose_kernels("sdpa", HALF).attention == "sdpa"
    assert choose_kernels("flash_attention_2", WHOLE).attention == "flash_attention_2"


def test_a_half_installed_package_is_said_and_passed_over():
    chosen = choose_kernels("auto", HALF)
    assert chosen.attention == "sdpa"
    assert "does not import (ImportError: undefined symbol" in chosen.why
    without_padding = importing(flash_attn=None, flash_attn__bert_padding=OSError("libcuda.so.1"))
    assert "OSError: libcuda" in choose_kernels("auto", without_padding).why


@pytest.mark.parametrize("importer", [importing(), HALF])
def test_a_named_package_that_does_not_import_is_refused_with_a_way_out(importer):
    with pytest.raises(ConfigError, match=r'flash-attn.*or set training\.attention = "sdpa"'):
        choose_kernels("flash_attention_2", importer)


def test_a_package_that_lies_half_on_the_path_is_half_installed(tmp_path, monkeypatch):
    (tmp_path / "flash_attn").mkdir()
    (tmp_path / "flash_attn" / "__init__.py").write_text("import flash_attn_2_cuda\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert "is there and does not import" in choose_kernels("auto").why
    assert "flash_attn" not in sys.modules


def test_the_settings_name_attention_padding_and_the_fused_road():
    assert choose_kernels("sdpa").settings("model") == {
        "model.override_config": {"attn_implementation": "sdpa"},
        "model.use_remove_padding": False,
        "model.use_fused_kernels": True,
        "model.fused_kernel_options.impl_backend": "torch",
    }
