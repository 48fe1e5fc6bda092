using Microsoft.AspNetCore.Http;

namespace Nibble.Serving.OpenAi;

/// <summary>A refusal as OpenAI's API words it.</summary>
/// <param name="Error">What is wrong.</param>
internal sealed record ErrorBody(ErrorBody.Problem Error)
{
    /// <summary>What is wrong.</summary>
    /// <param name="Message">For people.</param>
    /// <param name="Type">The kind of error.</param>
    /// <param name="Param">The field.</param>
    /// <param name="Code">For programs.</param>
    internal sealed record Problem(string Message, string Type, string? Param, string? Code);

    public static ErrorBody Of(RefusedException refused) => new(new Problem(refused.Message, TypeOf(refused.Status), refused.Parameter, refused.Code));

    public static IResult Result(RefusedException refused) => Results.Json(Of(refused), statusCode: refused.Status);

    private static string TypeOf(int status) => status switch
    {
        StatusCodes.Status429TooManyRequests => "rate_limit_error",
        >= 500 => "server_error",
        _ => "invalid_request_error",
    };
}
