using Microsoft.EntityFrameworkCore.Infrastructure;
using Microsoft.EntityFrameworkCore.Migrations;
using Microsoft.EntityFrameworkCore.Migrations.Operations;
using Microsoft.EntityFrameworkCore.Migrations.Operations.Builders;
using Npgsql.EntityFrameworkCore.PostgreSQL.Metadata;

namespace Nibble.Serving.Store.Migrations;

/// <summary>Jobs and their events, as the first version had them.</summary>
[DbContext(typeof(JobDatabase))]
[Migration(Id)]
internal sealed class First : Migration
{
    public const string Id = "20261101000000_First";

    /// <summary>A number that the database gives, whichever it is.</summary>
    public static OperationBuilder<AddColumnOperation> Number(ColumnsBuilder table) => table.Column<long>()
        .Annotation("Sqlite:Autoincrement", true)
        .Annotation("Npgsql:ValueGenerationStrategy", NpgsqlValueGenerationStrategy.IdentityByDefaultColumn);

    protected override void Up(MigrationBuilder migrationBuilder)
    {
        migrationBuilder.CreateTable(
            "Jobs",
            table => new
            {
                Number = Number(table),
                Id = table.Column<string>(nullable: true),
                Status = table.Column<string>(),
                ModelName = table.Column<string>(),
                TrainingDataPath = table.Column<string>(),
                OutputDir = table.Column<string>(),
                Folder = table.Column<string>(),
                Config = table.Column<string>(),
                IdempotencyKey = table.Column<string>(nullable: true),
                RequestHash = table.Column<string>(),
                Attempts = table.Column<int>(),
                Deaths = table.Column<int>(),
                CancelRequested = table.Column<bool>(),
                Step = table.Column<int>(),
                TotalSteps = table.Column<int>(),
                Metrics = table.Column<string>(),
                Error = table.Column<string>(nullable: true),
                Created = table.Column<DateTimeOffset>(),
                Started = table.Column<DateTimeOffset>(nullable: true),
                Ended = table.Column<DateTimeOffset>(nullable: true),
            },
            constraints: table => table.PrimaryKey("PK_Jobs", job => job.Number));
        migrationBuilder.CreateTable(
            "Events",
            table => new
            {
                Number = Number(table),
                JobNumber = table.Column<long>(),
                Time = table.Column<DateTimeOffset>(),
                Kind = table.Column<string>(),
                Data = table.Column<string>(),
            },
            constraints: table =>
            {
                table.PrimaryKey("PK_Events", change => change.Number);
                table.ForeignKey("FK_Events_Jobs_JobNumber", change => change.JobNumber, "Jobs", "Number", onDelete: ReferentialAction.Cascade);
            });
        migrationBuilder.CreateIndex("IX_Jobs_Id", "Jobs", "Id", unique: true);
        migrationBuilder.CreateIndex("IX_Jobs_IdempotencyKey", "Jobs", "IdempotencyKey", unique: true);
        migrationBuilder.CreateIndex("IX_Jobs_Status", "Jobs", "Status");
        migrationBuilder.CreateIndex("IX_Jobs_Folder", "Jobs", "Folder");
        migrationBuilder.CreateIndex("IX_Events_JobNumber_Number", "Events", ["JobNumber", "Number"]);
    }
}
