-- How the job of one line of a backlog ended. ARGV: backlog, line, "done" or "failed:<reason>",
-- how long the backlog is remembered in s. Saying it again changes nothing; done beats failed.
-- Returns 1 if that was new.
return note(ARGV[1], ARGV[2], ARGV[3], ARGV[4])
