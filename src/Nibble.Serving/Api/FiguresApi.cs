using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;
using OpenTelemetry.Metrics;

namespace Nibble.Serving.Api;

/// <summary>The service's figures, as Prometheus reads them.</summary>
internal static class FiguresApi
{
    public static IServiceCollection AddFigures(this IServiceCollection services)
    {
        services.AddSingleton<Figures>().AddMetrics().AddOpenTelemetry().WithMetrics(metrics => metrics.AddMeter(Figures.Name).AddPrometheusExporter(options =>
        {
            options.ScopeInfoEnabled = false;
            options.TargetInfoEnabled = false;
        }));
        return services;
    }

    public static void MapFigures(this IEndpointRouteBuilder routes)
    {
        _ = routes.ServiceProvider.GetRequiredService<Figures>(); // Measures as soon as it is there.
        routes.MapPrometheusScrapingEndpoint("/metrics");
    }
}
