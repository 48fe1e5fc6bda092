using Microsoft.EntityFrameworkCore;
using Nibble.Serving.Keys;

namespace Nibble.Serving.Store;

/// <summary>The tables of the service.</summary>
internal sealed class JobDatabase(DbContextOptions<JobDatabase> options) : DbContext(options)
{
    public DbSet<Job> Jobs => Set<Job>();

    public DbSet<JobEvent> Events => Set<JobEvent>();

    public DbSet<StoredFile> Files => Set<StoredFile>();

    public DbSet<ApiKey> Keys => Set<ApiKey>();

    protected override void OnModelCreating(ModelBuilder modelBuilder)
    {
        modelBuilder.Entity<Job>(job =>
        {
            job.HasKey(item => item.Number);
            job.HasIndex(item => item.Id).IsUnique();
            job.HasIndex(item => item.IdempotencyKey).IsUnique();
            job.HasIndex(item => item.Status);
            job.HasIndex(item => item.Folder);
            job.HasIndex(item => item.ClusterJob);
            job.Property(item => item.Status).HasConversion<string>();
            job.Property(item => item.Wish).HasConversion<string>();
            job.Ignore(item => item.IsOver);
        });
        modelBuilder.Entity<JobEvent>(change =>
        {
            change.HasKey(item => item.Number);
            change.HasIndex(item => new { item.JobNumber, item.Number });
            change.HasOne<Job>().WithMany().HasForeignKey(item => item.JobNumber);
        });
        modelBuilder.Entity<StoredFile>(file =>
        {
            file.HasKey(item => item.Number);
            file.Property(item => item.Id).IsRequired();
            file.HasIndex(item => item.Id).IsUnique();
            file.HasIndex(item => item.Content);
        });
        modelBuilder.Entity<ApiKey>(key =>
        {
            key.HasKey(item => item.Number);
            key.Property(item => item.Id).IsRequired();
            key.HasIndex(item => item.Id).IsUnique();
            key.Property(item => item.Scope).HasConversion<string>();
        });
    }
}
