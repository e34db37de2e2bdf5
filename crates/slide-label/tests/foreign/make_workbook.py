#!/usr/bin/env python3
"""Writes workbook.xlsx: ratings with dates as Excel keeps them, and a second sheet (pip install openpyxl)."""

import datetime
from pathlib import Path

import openpyxl

book = openpyxl.Workbook()
sheet = book.active
sheet.title = "Ratings"
for row in [
    ["Slide ID", "Rater", "Clarity", "Design", "Rated at", None],
    ["deck-p001", "Ana", 4, "n.a.", datetime.datetime(2026, 3, 2, 10, 11), None],
    ["deck-p002", "Ben", 5.0, 3, datetime.date(2026, 3, 3), None],
]:
    sheet.append(row)
book.create_sheet("Notes").append(["Clarity is how fast one understands."])
book.save(Path(__file__).with_name("workbook.xlsx"))
