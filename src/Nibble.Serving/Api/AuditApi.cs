using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Nibble.Serving.Keys;

namespace Nibble.Serving.Api;

/// <summary>Who did what.</summary>
internal static class AuditApi
{
    private const int Shown = 100;

    public static void MapAudit(this IEndpointRouteBuilder routes) =>
        routes.MapGet("/v1/audit", (AuditLog log) => new AuditPage(log.Newest(Shown))).NeedsScope(KeyScope.Admin)
            .WithTags("Audit").WithSummary("Who did what, the newest first");
}

/// <summary>The end of the audit log.</summary>
/// <param name="Data">The newest entries first.</param>
internal sealed record AuditPage(IReadOnlyList<AuditEntry> Data);
