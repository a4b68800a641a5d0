"""Batch items for one device. Generic: knows nothing about images or models.

The release rule:

1. A request is admitted whole, or refused at once because the queue has no room for its items.
   After that nothing is refused. The capacity follows the rate at which items really leave.
2. Items wait in the order in which their requests were accepted.
3. A batch may go when the device is free and one of these holds: it is half of a failed batch that
   is being retried, it is full, no accepted item is on its way to this stage, or its first item
   has waited for the maximum delay. An idle device never waits for items that cannot come.
4. Among several stages, the one whose next batch starts with the earliest request goes first. A
   batch that is not full lets up to two others pass.
5. Items whose callers have left, or whose deadline has passed, are dropped while a batch is formed.
6. A failed batch is retried in halves, until the poisonous item fails alone. Running out of memory
   lowers the maximum batch size; a lost device ends the process.
"""
