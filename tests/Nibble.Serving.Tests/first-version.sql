-- What the first version of the service made: its tables, word for word, with three jobs.
CREATE TABLE "Jobs" (
    "Number" INTEGER NOT NULL CONSTRAINT "PK_Jobs" PRIMARY KEY AUTOINCREMENT,
    "Id" TEXT NULL,
    "Status" TEXT NOT NULL,
    "ModelName" TEXT NOT NULL,
    "TrainingDataPath" TEXT NOT NULL,
    "OutputDir" TEXT NOT NULL,
    "Folder" TEXT NOT NULL,
    "Config" TEXT NOT NULL,
    "IdempotencyKey" TEXT NULL,
    "RequestHash" TEXT NOT NULL,
    "Attempts" INTEGER NOT NULL,
    "Deaths" INTEGER NOT NULL,
    "CancelRequested" INTEGER NOT NULL,
    "Step" INTEGER NOT NULL,
    "TotalSteps" INTEGER NOT NULL,
    "Metrics" TEXT NOT NULL,
    "Error" TEXT NULL,
    "Created" TEXT NOT NULL,
    "Started" TEXT NULL,
    "Ended" TEXT NULL
);
CREATE TABLE "Events" (
    "Number" INTEGER NOT NULL CONSTRAINT "PK_Events" PRIMARY KEY AUTOINCREMENT,
    "JobNumber" INTEGER NOT NULL,
    "Time" TEXT NOT NULL,
    "Kind" TEXT NOT NULL,
    "Data" TEXT NOT NULL,
    CONSTRAINT "FK_Events_Jobs_JobNumber" FOREIGN KEY ("JobNumber") REFERENCES "Jobs" ("Number") ON DELETE CASCADE
);
CREATE INDEX "IX_Events_JobNumber_Number" ON "Events" ("JobNumber", "Number");
CREATE INDEX "IX_Jobs_Folder" ON "Jobs" ("Folder");
CREATE UNIQUE INDEX "IX_Jobs_Id" ON "Jobs" ("Id");
CREATE UNIQUE INDEX "IX_Jobs_IdempotencyKey" ON "Jobs" ("IdempotencyKey");
CREATE INDEX "IX_Jobs_Status" ON "Jobs" ("Status");
INSERT INTO "Jobs" VALUES
    (1, 'job-1', 'Completed', 'm', 'd', 'a', '/o/a', '{}', 'key', 'hash', 2, 1, 0, 6, 6, '{"loss":1.5}', NULL, '2026-11-01 10:00:00+00:00', '2026-11-01 10:00:01+00:00', '2026-11-01 10:00:09+00:00'),
    (2, 'job-2', 'Running', 'm', 'd', 'b', '/o/b', '{}', NULL, 'hash', 1, 0, 1, 2, 6, '{}', NULL, '2026-11-01 10:00:00+00:00', '2026-11-01 10:00:10+00:00', NULL),
    (3, 'job-3', 'Pending', 'm', 'd', 'c', '/o/c', '{}', NULL, 'hash', 0, 0, 0, 0, 0, '{}', NULL, '2026-11-01 10:00:00+00:00', NULL, NULL);
INSERT INTO "Events" VALUES
    (1, 1, '2026-11-01 10:00:00+00:00', 'status', '{"status":"pending","reason":"created","attempt":0}'),
    (2, 1, '2026-11-01 10:00:02+00:00', 'metrics', '{"step":1,"loss":2.5}');
PRAGMA user_version = 1;
