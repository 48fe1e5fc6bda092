using Microsoft.EntityFrameworkCore.Infrastructure;
using Microsoft.EntityFrameworkCore.Migrations;

namespace Nibble.Serving.Store.Migrations;

/// <summary>What requests in OpenAI's shape say.</summary>
[DbContext(typeof(JobDatabase))]
[Migration("20261124100000_Asked")]
internal sealed class Asked : Migration
{
    protected override void Up(MigrationBuilder migrationBuilder) => migrationBuilder.AddColumn<string>("Asked", "Jobs", nullable: true);
}
