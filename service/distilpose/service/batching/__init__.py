"""Items to batches on one device. Generic: knows nothing of images or models.

The rule by which a batch is released:

1. A request is admitted whole, or refused at once because its items do not fit the queue's room.
   After that nothing is refused. The room follows the pace at which items really leave.
2. Items wait in the order in which their requests were accepted.
3. A batch may go when the device is free and one of these holds: its halves are to be tried again
   after a failure, it is full, no accepted item is on its way to this stage, or its first item has
   waited for the maximum delay. An idle device never waits for company that cannot come.
4. Of several stages the one whose next batch begins with the earliest request goes first. A batch
   that is not full lets up to two others pass.
5. Items whose callers have left, or whose deadline has passed, are dropped while a batch is formed.
6. A batch that fails is tried again in halves, until the poisonous item fails alone. Want of memory
   lowers the largest batch; a lost device ends the process.
"""
