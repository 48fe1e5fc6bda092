using Microsoft.EntityFrameworkCore.Infrastructure;
using Microsoft.EntityFrameworkCore.Migrations;

namespace Nibble.Serving.Store.Migrations;

/// <summary>Several servers, pauses, limits, and uploaded files.</summary>
[DbContext(typeof(JobDatabase))]
[Migration("20261124000000_Leases")]
internal sealed class Leases : Migration
{
    protected override void Up(MigrationBuilder migrationBuilder)
    {
        migrationBuilder.AddColumn<string>("Wish", "Jobs", nullable: true);
        migrationBuilder.AddColumn<string>("Owner", "Jobs", nullable: true);
        migrationBuilder.AddColumn<long>("LeaseUntil", "Jobs", defaultValue: 0L);
        migrationBuilder.AddColumn<long>("DueAt", "Jobs", defaultValue: 0L);
        migrationBuilder.AddColumn<string>("Device", "Jobs", defaultValue: "cpu");
        migrationBuilder.AddColumn<long>("Memory", "Jobs", defaultValue: 0L);
        migrationBuilder.AddColumn<long>("RunTime", "Jobs", defaultValue: 0L);
        migrationBuilder.AddColumn<int>("FarthestStep", "Jobs", defaultValue: 0);
        migrationBuilder.Sql("UPDATE \"Jobs\" SET \"Wish\" = 'Cancel' WHERE \"CancelRequested\" AND \"Ended\" IS NULL");
        migrationBuilder.Sql("ALTER TABLE \"Jobs\" DROP COLUMN \"CancelRequested\""); // The builder's own would write the whole table anew on SQLite.
        migrationBuilder.CreateTable(
            "Files",
            table => new
            {
                Number = First.Number(table),
                Id = table.Column<string>(),
                Name = table.Column<string>(),
                Purpose = table.Column<string>(),
                Sha256 = table.Column<string>(),
                Content = table.Column<string>(),
                Bytes = table.Column<long>(),
                Created = table.Column<DateTimeOffset>(),
            },
            constraints: table => table.PrimaryKey("PK_Files", file => file.Number));
        migrationBuilder.CreateIndex("IX_Files_Id", "Files", "Id", unique: true);
        migrationBuilder.CreateIndex("IX_Files_Content", "Files", "Content");
        if (migrationBuilder.ActiveProvider!.EndsWith("Sqlite", StringComparison.Ordinal))
        {
            migrationBuilder.Sql("PRAGMA user_version = 2"); // By which the first version knows that it is too old.
        }
    }
}
