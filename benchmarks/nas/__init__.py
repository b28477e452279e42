"""Networks searched, scored without training, and run on devices that drift: against what others computed or measured."""
