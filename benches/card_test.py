#!/usr/bin/env python3
"""Holds benches/card.sh to what it promises, with stand-ins for the timer and the tests: limits, order, lines, table. No GPU."""
import json
import os
import pathlib
import subprocess
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[1]

STEP = """#!/bin/bash
case "$*" in
  *--write*) mkdir -p "${@: -1}" ;;
  *"--batch 8"*--profile*)
    echo "    1.00 ms  attention_forward_64" >&2
    echo '{"step_s": 0.2, "losses": [1.5], "grad_norms": [0.5], "peak_mib": 900, "profile": {"lines": [{"name": "attention_forward_64", "calls": 4, "milliseconds": 3.0}, {"name": "product 2 x 3 x 4 bf16 + bias", "calls": 1, "milliseconds": 1.0}], "fallbacks": {"product 2 x 3 x 4 bf16 + bias": 7}}}' ;;
  *--slides*) sleep 60 ;;
  *"--batch 2"*) echo "{\\"losses\\": [1.5, $(cat "$KIT/noise" 2>/dev/null || echo 1)], \\"grad_norms\\": [0.5, 0.5]}"; echo 2 >"$KIT/noise.next" ;;
  *"--batch 1 "*) echo "no such device" >&2; exit 3 ;;
  *) echo '{"step_s": 0.25, "losses": [1.5], "grad_norms": [0.5], "peak_mib": 1000, "profile": {"lines": [], "fallbacks": {}}}' ;;
esac
"""
TESTS = """#!/bin/bash
echo "running 1 test"
echo "Bfloat16: off by 1.1e-6 (4.0e-5 allowed)"
echo "test result: ok. 1 passed; 0 failed"
"""


class Card(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.kit = pathlib.Path(self.folder.name, "kit")
        self.out = pathlib.Path(self.folder.name, "out")
        self.kit.mkdir()
        for name, text in (("step", STEP), ("tests", TESTS)):
            (self.kit / name).write_text(text)

    def tearDown(self):
        self.folder.cleanup()

    def run_card(self, parts, **settings):
        environment = {**os.environ, "KIT": str(self.kit), "OUT": str(self.out), "CARD_PARTS": parts, "TMPDIR": self.folder.name, **settings}
        done = subprocess.run([ROOT / "benches/card.sh"], env=environment, capture_output=True, text=True)
        lines = [json.loads(line) for line in (self.out / "card.jsonl").read_text().splitlines()]
        return done, {line["part"]: line for line in lines}

    def test_parts_are_recorded_with_what_they_measured(self):
        done, lines = self.run_card("correct weights step8 profile8")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(list(lines), ["correct", "weights", "step8", "profile8"])
        self.assertTrue(all(line["result"] == "passed" for line in lines.values()))
        self.assertIn("off by 1.1e-6", " ".join(lines["correct"]["said"]))
        self.assertEqual(lines["step8"]["measured"]["step_s"], 0.25)
        table = (self.out / "card.md").read_text()
        self.assertIn("250.0 ms a step; 1000 MiB; 0 products without a plan", table)
        self.assertIn("| attention_forward_64 | 3.00 | 75.0% | 4 | 750.0 |", table)
        self.assertIn("7 products without a plan", table)
        self.assertIn("=== step8: 0", (self.out / "card.log").read_text())
        self.assertFalse((pathlib.Path(self.folder.name) / "pitchquest-card-weights").exists())

    def test_a_part_that_hangs_or_fails_costs_its_own_time_alone(self):
        begun = time.monotonic()
        done, lines = self.run_card("run step1 step8", CARD_SECONDS="2")
        self.assertLess(time.monotonic() - begun, 20)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(lines["run"]["result"], "stopped at its limit")
        self.assertEqual(lines["step1"]["result"], "failed with 3")
        self.assertEqual(lines["step8"]["result"], "passed")

    def test_the_time_of_all_parts_is_kept(self):
        done, lines = self.run_card("run score", CARD_SECONDS="60", CARD_LIMIT="7")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(lines["run"]["result"], "stopped at its limit")
        self.assertEqual(lines["score"]["result"], "left out")

    def test_repeated_runs_are_compared_to_the_bit(self):
        _, lines = self.run_card("repeated")
        self.assertEqual(lines["repeated"]["result"], "passed", lines)
        noisy = STEP.replace('echo 2 >"$KIT/noise.next"', 'echo 2 >"$KIT/noise"')
        (self.kit / "step").write_text(noisy)
        _, lines = self.run_card("repeated")
        self.assertEqual(lines["repeated"]["result"], "failed with 1", lines)

    def test_the_plan_fits_nine_minutes_and_names_tests_that_are_there(self):
        done = subprocess.run([ROOT / "benches/card.sh", "--dry-run"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertLessEqual(int(done.stdout.splitlines()[-1].split()[0]), 540)
        sources = "".join(path.read_text() for path in ROOT.glob("crates/vlm-lora/src/**/tests/**/*.rs"))
        names = {word for word in done.stdout.split() if word.startswith(("a_real_device", "a_step_on"))}
        self.assertTrue(names)
        for name in names:
            self.assertIn(f"fn {name}", sources)

    def test_a_kit_that_is_not_there_is_said(self):
        done = subprocess.run([ROOT / "benches/card.sh"], env={**os.environ, "KIT": "/nowhere"}, capture_output=True, text=True)
        self.assertEqual(done.returncode, 2)
        self.assertIn("make card-kit", done.stderr)


if __name__ == "__main__":
    unittest.main()
