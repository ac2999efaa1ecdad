"""All pictures: timelines, precision-recall, training curves, neighbours, alignment."""
