"""Jobs in, captions and adapters out."""

from shared.signals import end_as_first_process

end_as_first_process()
