using System;
using System.IO;
using System.Text;
using System.Text.Json;

/// <summary>
/// A process that does what a test tells it. One request a line on standard input, its words separated by tabs;
/// one reply a line on standard output: "ok", a tab and the result, or "failed", a tab, the exception's name, a
/// tab and its text. It ends with its input. The Rust program of the test understands the same requests.
/// </summary>
static class Peer
{
    // The same map for all requests; a sample goes through it as text.
    static MemoryMapper<Auth> auth;

    static void Main()
    {
        var utf8 = new UTF8Encoding(false);
        var input = new StreamReader(Console.OpenStandardInput(), utf8);
        var output = new StreamWriter(Console.OpenStandardOutput(), utf8) { AutoFlush = true, NewLine = "\n" };
        string line;
        while ((line = input.ReadLine()) != null)
        {
            string reply;
            try
            {
                reply = "ok\t" + Obey(line.Split('\t'));
            }
            catch (Exception e)
            {
                reply = "failed\t" + e.GetType().Name + "\t" + e.Message;
            }
            output.WriteLine(reply.Replace("\r", " ").Replace("\n", " "));
        }
    }

    static string Obey(string[] words)
    {
        switch (words[0])
        {
            case "create":
                return Use(MemoryMapper<Auth>.Create(words[1], long.Parse(words[2])));
            case "open":
                return Use(MemoryMapper<Auth>.Open(words[1]));
            case "create-file":
                return Use(MemoryMapper<Auth>.CreateOnFile(words[1], long.Parse(words[2])));
            case "open-file":
                return Use(MemoryMapper<Auth>.OpenFile(words[1]));
            case "capacity":
                return auth.Capacity.ToString();
            case "set":
                auth.Write(new Auth { Bearer = words[1] });
                return "";
            case "set-relaxed":
                auth.WriteRelaxed(new Auth { Bearer = words[1] });
                return "";
            case "get":
                return auth.Read().Bearer;
            case "set-sample":
                auth.WriteString(JsonSerializer.Serialize(Sample.Known()));
                return "";
            case "get-sample":
                return JsonSerializer.Deserialize<Sample>(auth.ReadString()).IsKnown() ? "known" : "another";
            case "put":
                auth.WriteString(words[1]);
                return "";
            case "put-untidily":
                auth.WriteStringUntidily(words[1]);
                return "";
            case "put-with-mark":
                auth.WriteStringWithMark(words[1]);
                return "";
            case "text":
                return auth.ReadString();
            case "rewrite":
                return Rewrite(words[1], words[2], int.Parse(words[3]));
            case "reread":
                return Reread(words[1], words[2], int.Parse(words[3]));
            default:
                throw new ArgumentException("no such request: " + words[0]);
        }
    }

    static string Use(MemoryMapper<Auth> opened)
    {
        auth?.Dispose();
        auth = opened;
        return "";
    }

    /// <summary>Stores two tokens by turns, for so many milliseconds; the second one last.</summary>
    static string Rewrite(string first, string second, int milliseconds)
    {
        var clock = System.Diagnostics.Stopwatch.StartNew();
        var rounds = 0;
        do
        {
            auth.Write(new Auth { Bearer = first });
            auth.Write(new Auth { Bearer = second });
            rounds++;
        }
        while (clock.ElapsedMilliseconds < milliseconds);
        return rounds.ToString();
    }

    /// <summary>
    /// Reads for so many milliseconds: how often it was one of two tokens, how often no JSON could be made of it,
    /// and how often it was another token.
    /// </summary>
    static string Reread(string first, string second, int milliseconds)
    {
        var clock = System.Diagnostics.Stopwatch.StartNew();
        int whole = 0, refused = 0, mixed = 0;
        do
        {
            try
            {
                var bearer = auth.Read().Bearer;
                if (bearer == first || bearer == second) whole++; else mixed++;
            }
            catch (JsonException)
            {
                refused++;
            }
        }
        while (clock.ElapsedMilliseconds < milliseconds);
        return whole + " " + refused + " " + mixed;
    }
}
