using System.Text.Json;
using System.Text.Json.Serialization;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Console;
using Nibble.Serving.Api;
using Nibble.Serving.Chat;
using Nibble.Serving.Clusters;
using Nibble.Serving.Files;
using Nibble.Serving.Keys;
using Nibble.Serving.OpenAi;
using Nibble.Serving.Store;
using Nibble.Serving.Workers;

namespace Nibble.Serving;

/// <summary>The service that runs fine-tunes for a team: an HTTP interface, a store of jobs, and a worker process for each job.</summary>
public static class TrainingService
{
    private const long LargestRequest = 256 * 1024;

    /// <summary>Serves until cancelled; then running jobs save a checkpoint, and go on when a service is started with the same database.</summary>
    /// <param name="options">How.</param>
    /// <param name="listening">Is told each address that is listened at.</param>
    /// <param name="cancellation">Ends the service.</param>
    /// <exception cref="ArgumentException">An option is wrong; the message names it.</exception>
    /// <exception cref="InvalidDataException">The database or an address cannot be used.</exception>
    public static async Task RunAsync(ServiceOptions options, Action<string> listening, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(listening);
        using IExecutor executor = ExecutorOf(options.Validated());
        await executor.CheckAsync(cancellation).ConfigureAwait(false);
        using var store = new JobStore(StoreDatabase.At(options.Database));
        if (!store.IsShared)
        {
            await store.TakeBackAsync(all: true).ConfigureAwait(false); // Who ran them is gone, or this one would not have the store.
        }

        bool keyed = await store.HasKeysAsync(good: true, cancellation).ConfigureAwait(false);
        if (!keyed)
        {
            options.RequireLoopback();
        }

        await using WebApplication app = Build(options, store, executor, keyed);
        await app.Services.GetRequiredService<FileLibrary>().CollectAsync().ConfigureAwait(false);
        try
        {
            await app.StartAsync(cancellation).ConfigureAwait(false);
        }
        catch (IOException exception)
        {
            throw new InvalidDataException($"{options.Urls} cannot be listened at: {exception.Message}", exception);
        }

        foreach (string address in app.Urls)
        {
            listening(address);
        }

        await Task.Delay(Timeout.Infinite, cancellation).ContinueWith(_ => { }, TaskScheduler.Default).ConfigureAwait(false);
        await app.StopAsync(CancellationToken.None).ConfigureAwait(false);
    }

    private static IExecutor ExecutorOf(ServiceOptions options) => options.Executor switch
    {
        ExecutorKind.Slurm => new ClusterExecutor(new SlurmCluster(options.JobTemplate), options),
        ExecutorKind.Kubernetes => new ClusterExecutor(new KubernetesCluster(options.JobTemplate!), options),
        _ => new LocalExecutor(),
    };

    private static WebApplication Build(ServiceOptions options, JobStore store, IExecutor executor, bool keyed)
    {
        // The empty builder: no settings from files or variables that could open another address.
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            kestrel.Limits.MaxRequestBodySize = LargestRequest;
        });
        builder.Logging.AddSimpleConsole(format => format.SingleLine = true).SetMinimumLevel(LogLevel.Warning).AddFilter(nameof(Nibble), LogLevel.Information)
            .AddFilter("Microsoft.Extensions.Hosting", LogLevel.Critical); // Whoever runs the service is told why it cannot start.
        builder.Services.Configure<ConsoleLoggerOptions>(console => console.LogToStandardErrorThreshold = LogLevel.Trace);
        builder.Services.AddRoutingCore().AddProblemDetails().ConfigureHttpJsonOptions(json => Configure(json.SerializerOptions));
        builder.Services.AddSingleton(options).AddSingleton(store).AddSingleton(executor).AddSingleton<FileLibrary>().AddSingleton<DiskQuota>().AddSingleton<DeviceMemory>();
        builder.Services.AddSingleton<EventFeed>().AddSingleton<AuditLog>().AddSingleton<KeyRates>().AddDescription().AddFigures();
        builder.Services.AddHostedService<JobRunner>();
        builder.Services.AddSingleton<ModelCatalog>().AddSingleton<ChatHosts>().AddHostedService(services => services.GetRequiredService<ChatHosts>());
        builder.Services.AddSingleton<IHostLifetime, CallersLifetime>().Configure<HostOptions>(host => host.ShutdownTimeout = TimeSpan.FromSeconds(40));
        builder.Services.AddHostFiltering(filter => filter.AllowedHosts = keyed ? ["*"] : ["localhost", "127.0.0.1", "[::1]"]);
        WebApplication app = builder.Build();
        foreach (string url in options.Addresses)
        {
            app.Urls.Add(url);
        }

        app.UseExceptionHandler().UseStatusCodePages();
        app.UseHostFiltering(); // A web page that calls itself by a name of its own for 127.0.0.1 gets nothing.
        app.UseWebPage();
        app.UseRouting();
        app.Use(app.Services.GetRequiredService<AuditLog>().NoteAsync);
        app.UseMiddleware<KeyCheck>(); // Before every route, those that are yet to come too.
        app.MapJobs();
        app.MapOpenAi();
        app.MapHealth();
        app.MapAudit();
        app.MapDescription();
        app.MapFigures();
        return app;
    }

    private static void Configure(JsonSerializerOptions json)
    {
        json.PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower;
        json.NumberHandling = JsonNumberHandling.Strict; // As requests are read; the description would say otherwise.
        json.Converters.Add(new JsonStringEnumConverter(JsonNamingPolicy.SnakeCaseLower, allowIntegerValues: false));
    }

    /// <summary>Signals are the business of who runs the service.</summary>
    private sealed class CallersLifetime : IHostLifetime
    {
        public Task WaitForStartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;
    }
}
