"""Networks searched, scored without training, run on devices that drift: against what others computed or measured."""
