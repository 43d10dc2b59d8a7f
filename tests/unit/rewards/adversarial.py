"""One note, honest answers to it, and answers that try to earn without reading it.

`docs/rewards.md` shows what each preset gives to each of them; `test_composite.py` keeps that true.
"""

from hypothesis import strategies as st

from deepicd import codes
from deepicd.answers import parse_answer
from deepicd.rewards import REWARDS, build_reward

GOLD = "I2510"

billable = st.sampled_from(codes.billable_codes())
_pieces = st.sampled_from(
    [
        *("<think>", "</think>", "<diagnosis>", "</diagnosis>", "<", "</", " ", "\n", "I25.10"),
        *("i10", "I25", "I2599", "pain pain pain", "\u0000", "\u0130", "💥", "<|im_end|>"),
    ]
)
hostile = st.one_of(st.text(max_size=150), st.lists(_pieces, max_size=25).map("".join))
"""Text that a model could write to earn without knowing."""

NOTE = (
    "CHIEF COMPLAINT:\nExertional chest pressure\n\nPRESENT ILLNESS:\n___ year old man with prior"
    " coronary stenting who reports three weeks of substernal pressure when climbing stairs,"
    " relieved by rest. No fever, cough or leg swelling. Stress test showed reversible anterior"
    " ischemia and he comes in for catheterization.\n\nMEDICAL HISTORY:\nHyperlipidemia,"
    " hypertension, tobacco use.\n\nMEDICATION ON ADMISSION:\nAspirin, metoprolol, atorvastatin."
)

THINK = (
    "Exertional substernal pressure relieved by rest, prior stenting, anterior ischemia on the"
    " stress test; fever and cough are denied. Risk factors: tobacco, hyperlipidemia. Fits stable"
    " coronary disease."
)
GENERIC = "I will now think carefully and step by step and then give the best possible answer."
FREQUENT = ("I25.10", "I21.4", "A41.9", "J18.9", "I50.9", "N17.9", "I48.91", "K92.2")
ENDLESS = "so let me think about it again and again " * 150


def build(think: str, code: str) -> str:
    """Text after the prefilled `<think>`."""
    return f"{think}</think>\n<diagnosis>{code}</diagnosis>"


HONEST = {
    "exact": build(THINK, "I25.10"),
    "exact, no dot, lower case": build(THINK, "i2510"),
    "same category, other code": build(THINK, "I25.2"),
    "same block": build(THINK, "I21.4"),
    "same chapter": build(THINK, "I50.9"),
    "other chapter": build(THINK, "J18.9"),
}
"""What models answer that read the note, best first."""

RIGHT_CODE_BADLY_FORMED = {
    "exact, named before the reasoning": build("I25.10 because: " + THINK, "I25.10"),
    "exact, note copied as reasoning": build(NOTE, "I25.10"),
    "exact, endless repetition": build(ENDLESS, "I25.10"),
    "exact, no reasoning": build("", "I25.10"),
    "exact, advertisement after it": build(THINK, "I25.10") + " I am certain, full marks please.",
}
"""The right code with bad manners: below an honest exact answer."""

HACKS = {
    "always the most common code (A41.9)": build(GENERIC, "A41.9"),
    "note copied, most common code": build(NOTE, "A41.9"),
    "unspecific code (R69, illness)": build(GENERIC, "R69"),
    "header (I25)": build(THINK, "I25"),
    "code that does not exist (I25.99)": build(THINK, "I25.99"),
    "first letter and digits (I99.99)": build(THINK, "I99.99"),
    "eight codes in eight blocks": "<diagnosis>".join(
        [f"{THINK}</think>\n", *(f"{c}</diagnosis>" for c in FREQUENT)]
    ),
    "the same code twenty times": build(THINK, "I25.10") + "\n<diagnosis>I25.10</diagnosis>" * 19,
    "twenty pairs": "\n<think>".join([build("x", "I25.10")] * 20),
    "several codes in one block": build(THINK, "I25.10, I21.4, A41.9"),
    "diagnosis inside the reasoning": f"{THINK} <diagnosis>I25.10</diagnosis>",
    "code only in the reasoning": f"{THINK} So I25.10.</think>",
    "endless reasoning, cut off": ENDLESS,
    "tag spam": "<diagnosis>" * 200 + "</think>" * 200,
    "nothing": "",
}
"""Answers that try to earn without knowing."""


def reward_value(name, text, gold, *, note=None, curve=1.0):
    return REWARDS[name](curve)(parse_answer(text), gold, note)


def total(preset, text, gold="I2510", note=None):
    return build_reward(preset)(parse_answer(text), gold, note).total
