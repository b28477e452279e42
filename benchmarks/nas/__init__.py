"""Networks' accuracy without training, and with fewer bits, against what others computed or was measured."""
