using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.HttpResults;

namespace Nibble.Serving.OpenAi;

/// <summary>A refusal as OpenAI's API words it.</summary>
/// <param name="Error">What is wrong.</param>
internal sealed record ErrorBody(ErrorBody.Problem Error)
{
    /// <summary>Marks routes whose refusals have this shape.</summary>
    internal sealed record Shape;

    /// <summary>What is wrong.</summary>
    /// <param name="Message">For people.</param>
    /// <param name="Type">The kind of error.</param>
    /// <param name="Param">The field.</param>
    /// <param name="Code">For programs.</param>
    internal sealed record Problem(string Message, string Type, string? Param, string? Code);

    public static ErrorBody Of(RefusedException refused) => new(new Problem(refused.Message, TypeOf(refused.Status), refused.Parameter, refused.Code));

    public static IResult Result(RefusedException refused) => Results.Json(Of(refused), statusCode: refused.Status);

    /// <summary>A refusal from before a route, in the shape that the route's clients read.</summary>
    public static IResult InShapeOf(Endpoint? route, IResult refusal) => route?.Metadata.GetMetadata<Shape>() is not null && refusal is ProblemHttpResult problem
        ? Result(new RefusedException(problem.StatusCode, problem.ProblemDetails.Detail!))
        : refusal;

    private static string TypeOf(int status) => status switch
    {
        StatusCodes.Status429TooManyRequests => "rate_limit_error",
        >= 500 => "server_error",
        _ => "invalid_request_error",
    };
}
