namespace Nibble.Serving.OpenAi;

/// <summary>A request is refused, or failed, in words that whoever sent it may read.</summary>
/// <param name="status">The status code.</param>
/// <param name="message">Why.</param>
/// <param name="parameter">The field that is wrong, as the request spells it.</param>
/// <param name="code">A word for programs, as OpenAI has them.</param>
internal sealed class RefusedException(int status, string message, string? parameter = null, string? code = null) : Exception(message)
{
    public int Status => status;

    public string? Parameter => parameter;

    public string? Code => code;
}
