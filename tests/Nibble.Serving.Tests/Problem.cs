using System.Net;
using System.Text.Json.Nodes;

namespace Nibble.Serving.Tests;

/// <summary>Refusals as RFC 9457 describes them.</summary>
internal static class Problem
{
    public static async Task IsAsync(HttpResponseMessage response, HttpStatusCode status, string? field = null, string? words = null)
    {
        string text = await response.Content.ReadAsStringAsync();
        Assert.True(status == response.StatusCode, $"{response.RequestMessage!.Method} {response.RequestMessage.RequestUri}: {(int)response.StatusCode} {text}");
        Assert.Equal("application/problem+json", response.Content.Headers.ContentType?.MediaType);
        Assert.DoesNotMatch(@"\b(System|Nibble)\.\w", text); // Types of the program say nothing to who asks.
        JsonObject problem = JsonNode.Parse(text)!.AsObject();
        Assert.Equal((int)status, problem["status"]!.GetValue<int>());
        if (words is not null)
        {
            Assert.Contains(words, (string?)problem["detail"], StringComparison.Ordinal);
        }

        if (field is not null)
        {
            Assert.Equal(field, Assert.Single(problem["errors"]!.AsObject()).Key);
        }
    }
}
