"""`deepicd promote`, `challenge`, `rollback`, `registry`: who is champion, and why."""
