using Microsoft.EntityFrameworkCore.Infrastructure;
using Microsoft.EntityFrameworkCore.Migrations;

namespace Nibble.Serving.Store.Migrations;

/// <summary>Workers on clusters, which outlive their servers.</summary>
[DbContext(typeof(JobDatabase))]
[Migration("20261129080000_Clusters")]
internal sealed class Clusters : Migration
{
    protected override void Up(MigrationBuilder migrationBuilder)
    {
        migrationBuilder.AddColumn<string>("ClusterJob", "Jobs", nullable: true);
        migrationBuilder.AddColumn<long>("ClusterHeard", "Jobs", defaultValue: 0L);
        migrationBuilder.CreateIndex("IX_Jobs_ClusterJob", "Jobs", "ClusterJob");
    }
}
