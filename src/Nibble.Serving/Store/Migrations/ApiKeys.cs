using Microsoft.EntityFrameworkCore.Infrastructure;
using Microsoft.EntityFrameworkCore.Migrations;

namespace Nibble.Serving.Store.Migrations;

/// <summary>Keys, and whose each job is.</summary>
[DbContext(typeof(JobDatabase))]
[Migration("20261124120000_ApiKeys")]
internal sealed class ApiKeys : Migration
{
    protected override void Up(MigrationBuilder migrationBuilder)
    {
        migrationBuilder.AddColumn<string>("KeyId", "Jobs", nullable: true);
        migrationBuilder.CreateTable(
            "Keys",
            table => new
            {
                Number = First.Number(table),
                Id = table.Column<string>(),
                Name = table.Column<string>(),
                Hash = table.Column<string>(),
                Scope = table.Column<string>(),
                Rate = table.Column<int>(nullable: true),
                Concurrency = table.Column<int>(nullable: true),
                Created = table.Column<DateTimeOffset>(),
                Revoked = table.Column<DateTimeOffset>(nullable: true),
                LastUsed = table.Column<DateTimeOffset>(nullable: true),
            },
            constraints: table => table.PrimaryKey("PK_Keys", key => key.Number));
        migrationBuilder.CreateIndex("IX_Keys_Id", "Keys", "Id", unique: true);
    }
}
