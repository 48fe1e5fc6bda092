using Microsoft.AspNetCore.Http;
using Nibble.Serving.Jobs;

namespace Nibble.Serving.Api;

/// <summary>Refusals, as RFC 9457 describes them; <c>errors</c> names the field.</summary>
internal static class Problems
{
    public static IResult NoJob(string id) => Results.Problem($"There is no job '{id}'.", statusCode: StatusCodes.Status404NotFound);

    public static IResult Conflict(string field, string problem) => Field(field, problem, StatusCodes.Status409Conflict);

    public static IResult Unprocessable(FieldException exception) => Field(exception.Name, exception.Problem, StatusCodes.Status422UnprocessableEntity);

    private static IResult Field(string field, string problem, int status) =>
        Results.Problem($"{field}: {problem}", statusCode: status, extensions: [new("errors", new Dictionary<string, string[]> { [field] = [problem] })]);
}
