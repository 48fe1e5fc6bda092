using Microsoft.AspNetCore.Http;
using Nibble.Serving.Chat;

namespace Nibble.Serving.OpenAi;

/// <summary>A request is refused, or failed, in words that whoever sent it may read.</summary>
/// <param name="status">The status code.</param>
/// <param name="message">Why.</param>
/// <param name="parameter">The field that is wrong, as the request spells it.</param>
/// <param name="code">A word for programs, as OpenAI has them.</param>
internal sealed class RefusedException(int status, string message, string? parameter = null, string? code = null) : Exception(message)
{
    /// <summary>A chat without an answer.</summary>
    public static RefusedException Of(ChatException exception) => exception.Failure switch
    {
        ChatFailure.Busy => new(StatusCodes.Status429TooManyRequests, exception.Message, code: "queue_full"),
        ChatFailure.Conversation => new(StatusCodes.Status400BadRequest, exception.Message, "messages", exception.Code),
        ChatFailure.Model => new(StatusCodes.Status400BadRequest, exception.Message, "model"),
        ChatFailure.Memory => new(StatusCodes.Status503ServiceUnavailable, exception.Message, code: "out_of_memory"),
        ChatFailure.Ended => new(StatusCodes.Status503ServiceUnavailable, exception.Message),
        _ => new(StatusCodes.Status500InternalServerError, exception.Message),
    };

    public int Status => status;

    public string? Parameter => parameter;

    public string? Code => code;
}
